"""How medseg's pictures look: dark, quiet axes, one colour a class or a method, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medseg.files import atomic_path

COLOURS = ("#5ee06e", "#ffd23c", "#f08cff", "#4fe3e3", "#ffa98a", "#d7e64f", "#a9b8ff", "#f5b8d5")
"""Classes, curves, methods; more begin again. None comes close to a tint of an overlay."""

MISSED, EXTRA, CONFUSED = "#ff2d3f", "#2f7bff", "#ff7a00"
"""Tints of voxels that only the reference has, that only the segmentation has, and that have another label in each."""

TINT_OPACITY = 0.5
BACKGROUND, TEXT, QUIET = "#101114", "#ececee", "#9a9ca5"
SPINE, GRID = "#3a3d45", "#2a2c33"
DPI = 110


def colour(index: int) -> str:
    """The colour of class, curve or method ``index``; counted from 1, as classes are."""
    return COLOURS[(index - 1) % len(COLOURS)]


def dress(ax: Axes) -> None:
    """Give axes the dark look, with a quiet grid."""
    ax.set_facecolor(BACKGROUND)
    ax.tick_params(colors=QUIET)
    for spine in ax.spines.values():
        spine.set_color(SPINE)
    ax.grid(color=GRID, linewidth=0.7)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as one PNG; needs no window system and touches no global state."""
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", facecolor=figure.get_facecolor())
