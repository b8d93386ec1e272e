"""The learning rate as a pure function of how far training has come."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """How the learning rate falls (see ``config.schema.ScheduleConfig``)."""

    name: Literal["poly", "cosine", "constant"] = "poly"
    power: float = 0.9
    warmup_steps: int = 0


def learning_rate_factor(schedule: Schedule, progress: float, step: int) -> float:
    """Share of the base learning rate.

    Args:
        schedule: its shape.
        progress: training done, 0 to 1 (steps, or time where a budget ends training earlier).
        step: optimiser steps done, for the warm-up.

    Raises:
        ValueError: unknown schedule name.
    """
    left = 1.0 - min(max(progress, 0.0), 1.0)
    match schedule.name:
        case "poly":
            factor = math.pow(left, schedule.power)
        case "cosine":
            factor = 0.5 * (1.0 - math.cos(math.pi * left))
        case "constant":
            factor = 1.0
        case _:
            raise ValueError(f"schedule: expected poly, cosine or constant, found {schedule.name!r}")
    return factor * min(1.0, (step + 1) / (schedule.warmup_steps + 1))
