"""The curves of a training run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medseg.reports.style import BACKGROUND, DPI, QUIET, TEXT, colour, dress, save


def training_curves(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw losses and class-wise Dice over the epochs as one PNG.

    Args:
        history: one mapping an epoch, with the key ``epoch``. Keys ``train/...`` (the loss and its terms) are drawn on
            the left, keys ``.../dice/...`` (one a class) on the right. Other keys, keys that an epoch lacks and NaN are
            passed over: validation need not come with every epoch.
        path: the PNG; written whole or not at all.

    Raises:
        ValueError: no epoch.
    """
    if not history:
        raise ValueError("training curves: expected at least one epoch")
    keys = list(dict.fromkeys(key for entry in history for key in entry))
    figure = Figure(figsize=(11.0, 4.2), dpi=DPI, facecolor=BACKGROUND, layout="constrained")
    left, right = figure.subplots(1, 2)
    _plot(left, "training loss", history, [key for key in keys if key.startswith("train/")])
    _plot(right, "Dice", history, [key for key in keys if "/dice/" in key])
    right.set_ylim(0, 1.02)
    save(figure, path)


def _plot(ax: Axes, name: str, history: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> None:
    for number, key in enumerate(keys, start=1):
        points = [(entry["epoch"], entry[key]) for entry in history if _is_number(entry.get(key))]
        epochs, values = zip(*points, strict=True) if points else ((), ())
        marker = "o" if len(points) < 40 else ""
        ax.plot(epochs, values, color=colour(number), label=key, linewidth=1.6, marker=marker, markersize=3.5)
    ax.set_title(name, color=TEXT, fontsize=12, loc="left")
    ax.set_xlabel("epoch", color=QUIET)
    dress(ax)
    if keys:
        ax.legend(frameon=False, labelcolor=TEXT, fontsize=9.5)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
