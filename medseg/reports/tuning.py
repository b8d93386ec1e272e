"""What each step of post-processing gained, as a table for the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from medseg.evaluation.tuning import Gain, Tuning

if TYPE_CHECKING:
    from rich.table import Table


def tuning_table(tuning: Tuning) -> Table:
    """A row a step: the kept ones in their order, then the others from the largest gain down.

    Of a step that was tried with several amounts only the best is shown, and where one was kept none beside it.

    Args:
        tuning: of ``evaluation.tuning.tune``.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    caption = (
        f"Mean Dice of the step's class over {tuning.studies} validation studies; worse and better: studies. "
        "Of several amounts the best."
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, caption=caption, caption_justify="left")
    for heading in ("step", "before", "after", "gain", "better", "worse", "outcome"):
        text = heading in ("step", "outcome")
        table.add_column(heading, justify="left" if text else "right", no_wrap=not text, overflow="fold")
    for gain in (*tuning.kept, *_best(tuning)):
        style = "" if gain.refused else "bold"
        table.add_row(*(escape(cell) for cell in _cells(gain)), style=style)
    return table


def _best(tuning: Tuning) -> list[Gain]:
    """Of the refused steps of one kind and place the one with the largest gain, from the largest down."""
    shown = {_place(gain) for gain in tuning.kept}
    best = []
    for gain in sorted(tuning.refused, key=_size):
        if _place(gain) not in shown:
            shown.add(_place(gain))
            best.append(gain)
    return best


def _place(gain: Gain) -> tuple[str, str, str]:
    return gain.step.kind, gain.step.label, gain.step.of


def _size(gain: Gain) -> float:
    return math.inf if math.isnan(gain.gain) else -gain.gain


def _cells(gain: Gain) -> tuple[str, ...]:
    numbers = (_number(gain.before, ""), _number(gain.after, ""), _number(gain.gain, "+"))
    return str(gain.step), *numbers, str(gain.better), str(gain.worse), gain.refused or "kept"


def _number(value: float, sign: str) -> str:
    return "-" if math.isnan(value) else f"{value:{sign}.4f}"
