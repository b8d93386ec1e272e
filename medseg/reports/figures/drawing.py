"""What every picture of a study is made of: dark panels, slices with contours and tints, legends, a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from medseg.metrics.overlap import confusion, overlap_scores
from medseg.reports.scene import Scene, View, Voxels, foreground
from medseg.reports.style import BACKGROUND, CONFUSED, DPI, EXTRA, MISSED, QUIET, TEXT, TINT_OPACITY, colour
from medseg.types import Volume

_WIDTH_INCHES, _HIGHEST_PANEL_INCHES = 14.0, 6.0
_CLASS_INCHES, _STYLES_INCHES = 2.1, 6.0
"""Room in the legend for one class, and for the meaning of lines and tints."""

DASHES = (0, (3.0, 2.0))
_DENSE_OPACITY = 0.85
_LISTED_CLASSES = 10
"""Classes in the legend at most."""


def draw_slice(
    ax: Axes,
    scene: Scene,
    view: View,
    index: int,
    intensity_range_hu: tuple[float, float],
    num_foreground: int,
    *,
    contours: bool = True,
    tints: bool = True,
) -> None:
    """Draw a slice in gray, the errors tinted, the reference's contours solid and the segmentation's dashed.

    Without a reference the segmentation's contours are solid. ``contours`` and ``tints`` leave out the one or the
    other; without contours tints are denser.
    """
    show_gray(ax, scene, view, view.pixels(scene.image, index), intensity_range_hu)
    segmentation = view.pixels(scene.segmentation, index)
    reference = None if scene.reference is None else view.pixels(scene.reference, index)
    if reference is not None and tints:
        opacity = TINT_OPACITY if contours else _DENSE_OPACITY
        ax.imshow(_tint(reference, segmentation, opacity), aspect=ax.get_aspect(), interpolation="nearest")
    if reference is not None and contours:
        contour(ax, reference, num_foreground, "solid")
    if contours:
        contour(ax, segmentation, num_foreground, "solid" if reference is None else DASHES)
    say_where(ax, f"{view.name}  {'RAS'[view.axis]} {scene.position_mm(view, index):+.0f} mm")


def show_gray(ax: Axes, scene: Scene, view: View, pixels: Voxels, intensity_range_hu: tuple[float, float]) -> None:
    """Fill a panel with HU in gray, in true proportions, and letter its sides."""
    columns_mm, rows_mm = (scene.spacing_mm[axis] for axis in view.plane)
    low, high = intensity_range_hu
    ax.imshow(pixels, cmap="gray", vmin=low, vmax=high, aspect=rows_mm / columns_mm, interpolation="bilinear")
    left, right, top, bottom = view.sides
    for x, y, side in ((0.02, 0.5, left), (0.98, 0.5, right), (0.5, 0.97, top), (0.5, 0.03, bottom)):
        _letter(ax, x, y, side)


def say_where(ax: Axes, text: str) -> None:
    """One quiet line above a panel."""
    ax.set_title(text, loc="left", color=QUIET, fontsize=10, pad=4)


def write_heading(figure: Figure, title: str, aside: str) -> None:
    """The title on the left, what it is shown with on the right."""
    height = figure.get_size_inches()[1]
    figure.text(0.008, 1 - 0.1 / height, title, color=TEXT, ha="left", va="top", fontsize=13, fontweight="bold")
    figure.text(0.992, 1 - 0.1 / height, aside, color=QUIET, ha="right", va="top", fontsize=10)


def _tint(reference: Voxels, segmentation: Voxels, opacity: float) -> Voxels:
    in_reference, in_segmentation = foreground(reference), foreground(segmentation)
    tints = np.zeros((*reference.shape, 4))
    for mask, hue in (
        (in_reference & ~in_segmentation, MISSED),
        (in_segmentation & (reference == 0), EXTRA),
        (in_reference & in_segmentation & (reference != segmentation), CONFUSED),
    ):
        tints[mask] = to_rgba(hue, opacity)
    return tints


def contour(ax: Axes, classes: Voxels, num_foreground: int, linestyle: Any) -> None:
    """Outline each class of a slice in its colour."""
    padded = np.pad(classes, 1)  # closes contours at the picture's edge, and gives thin pictures two rows to contour
    rows, columns = (np.arange(size) - 1 for size in padded.shape)
    for index in range(1, num_foreground + 1):
        mask = padded == index
        if mask.any():
            ax.contour(
                columns, rows, mask, levels=[0.5], colors=[colour(index)], linewidths=1.3, linestyles=[linestyle]
            )
    ax.set_xlim(-0.5, classes.shape[1] - 0.5)
    ax.set_ylim(classes.shape[0] - 0.5, -0.5)


def class_handles(class_names: Sequence[str], reference: Volume | None, segmentation: Volume) -> list[Patch]:
    """A patch for each class that occurs, with Dice where there is a reference."""
    truth = segmentation if reference is None else reference
    scores = overlap_scores(confusion(truth.voxels, segmentation.voxels, len(class_names) + 1))
    present = [i for i in range(1, len(class_names) + 1) if scores.reference_voxels[i] + scores.segmentation_voxels[i]]
    handles = []
    for index in present[:_LISTED_CLASSES]:
        dice = "" if reference is None else f"  Dice {scores.dice[index]:.3f}"
        handles.append(Patch(color=colour(index), label=f"{class_names[index - 1]}{dice}"))
    if len(present) > _LISTED_CLASSES:
        handles.append(Patch(color=BACKGROUND, label=f"and {len(present) - _LISTED_CLASSES} more"))
    return handles or [Patch(color=BACKGROUND, label="nothing is labelled")]


def style_handles(num_foreground: int) -> list[Line2D | Patch]:
    """The meaning of lines and tints."""
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=TEXT, linewidth=1.3, label="reference"),
        Line2D([], [], color=TEXT, linewidth=1.3, linestyle=DASHES, label="segmentation"),
        Patch(color=MISSED, alpha=0.8, label="missed"),
        Patch(color=EXTRA, alpha=0.8, label="extra"),
    ]
    return handles if num_foreground == 1 else [*handles, Patch(color=CONFUSED, alpha=0.8, label="other label")]


def panels(
    ratios: Sequence[float], classes: Sequence[Patch], styles: Sequence[Line2D | Patch], rows: int = 1
) -> tuple[Figure, list[list[Axes]]]:
    """A dark figure with rows of panels of equal height (ratio: width / height) and two legends below."""
    shown = np.clip(ratios, 0.5, 3.5)  # a study of one slice still gets panels that can be seen
    gap, top, between = 0.1, 0.58, 0.3
    height = min(_HIGHEST_PANEL_INCHES, (_WIDTH_INCHES - gap * (len(shown) + 1)) / float(shown.sum()))
    width = height * float(shown.sum()) + gap * (len(shown) + 1)
    in_a_row = max(1, int((width - _STYLES_INCHES * bool(styles)) / _CLASS_INCHES))
    bottom = 0.14 + 0.26 * max(1, math.ceil(len(classes) / in_a_row))
    total = top + height * rows + between * (rows - 1) + bottom
    figure = Figure(figsize=(width, total), dpi=DPI, facecolor=BACKGROUND)
    axes: list[list[Axes]] = []
    for row in range(rows):
        axes.append([])
        left, low = gap, bottom + (rows - 1 - row) * (height + between)
        for ratio in shown:
            ax = figure.add_axes((left / width, low / total, height * ratio / width, height / total))
            ax.set(facecolor="black", xticks=[], yticks=[])
            axes[-1].append(ax)
            left += height * ratio + gap
    look: dict[str, Any] = {"frameon": False, "labelcolor": TEXT, "fontsize": 10.5, "columnspacing": 1.6}
    look |= {"borderaxespad": 0.0, "borderpad": 0.2, "handlelength": 1.6}
    below = (bottom - 0.06) / total
    figure.legend(handles=classes, loc="upper left", bbox_to_anchor=(0.004, below), ncols=in_a_row, **look)
    figure.legend(handles=styles, loc="upper right", bbox_to_anchor=(0.996, below), ncols=len(styles) or 1, **look)
    return figure, axes


def _letter(ax: Axes, x: float, y: float, text: str) -> None:
    shadow = [withStroke(linewidth=2.5, foreground="black")]  # readable on bone and on air
    look: dict[str, Any] = {"ha": "center", "va": "center", "fontweight": "bold", "fontsize": 10}
    ax.text(x, y, text, transform=ax.transAxes, color=TEXT, path_effects=shadow, **look)
