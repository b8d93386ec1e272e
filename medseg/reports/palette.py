"""The colours of every picture, on PNG and on the report page: one class, one kind of error, one look."""

from __future__ import annotations

CLASS_COLOURS = ("#5ee06e", "#ffd23c", "#f08cff", "#4fe3e3", "#ffa98a", "#d7e64f", "#a9b8ff", "#f5b8d5")
"""Contours, by class; more classes begin again. None comes close to a tint."""

MISSED, EXTRA, CONFUSED = "#ff2d3f", "#2f7bff", "#ff7a00"
"""Tints of voxels that only the reference has, that only the segmentation has, and that have another label in each."""

TINT_OPACITY = 0.5
BACKGROUND, TEXT, QUIET = "#101114", "#ececee", "#9a9ca5"


def class_colour(index: int) -> str:
    """The colour of a foreground class; class 1 comes first."""
    return CLASS_COLOURS[(index - 1) % len(CLASS_COLOURS)]
