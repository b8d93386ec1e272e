"""The learning rate as a pure function of how far training has come."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from medseg.settings import Positive, settings


@settings
class Schedule:
    """How the learning rate falls."""

    name: Literal["poly", "cosine", "constant"] = "poly"
    power: Positive = 0.9
    """Exponent of poly: lr * (1 - progress) ** power."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of linear rise from 0."""

    def factor(self, progress: float, step: int) -> float:
        """Share of the base learning rate.

        Args:
            progress: training done, 0 to 1 (steps, or time where a budget ends training earlier).
            step: optimiser steps done, for the warm-up.
        """
        left = 1.0 - min(max(progress, 0.0), 1.0)
        match self.name:
            case "poly":
                factor = math.pow(left, self.power)
            case "cosine":
                factor = 0.5 * (1.0 - math.cos(math.pi * left))
            case "constant":
                factor = 1.0
        return factor * min(1.0, (step + 1) / (self.warmup_steps + 1))
