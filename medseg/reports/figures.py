"""Pictures of an evaluation: a study with its contours and errors, and the curves of a training run.

Views are radiological: the patient's right on the viewer's left; axial with anterior on top, coronal and sagittal with
superior on top, sagittal with anterior on the left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from medseg.evaluation import StudyScores
from medseg.metrics.overlap import confusion, mean_defined, overlap_scores
from medseg.reports.style import BACKGROUND, DPI, QUIET, TEXT, colour, dress, save
from medseg.study.geometry import reorient, require_same_grid
from medseg.types import IGNORE_INDEX, Affine, Volume

Voxels = NDArray[Any]
Rank = Literal["best", "median", "worst"]

_MISSED, _EXTRA, _CONFUSED = "#ff2d3f", "#2f7bff", "#ff7a00"
"""Tints of voxels that only the reference has, that only the segmentation has, and that have another label in each."""

_TINT_OPACITY = 0.5
_MARGIN_MM = 30.0
"""Shown around all that is labelled."""

_LEAST_EXTENT_MM = 150.0
"""Side of the smallest view: enough anatomy around a small lesion to see where it is."""

_WIDTH_INCHES, _HIGHEST_PANEL_INCHES = 14.0, 6.0
_CLASS_INCHES, _STYLES_INCHES = 2.1, 6.0
"""Room in the legend for one class, and for the meaning of lines and tints."""

_DASHES = (0, (3.0, 2.0))
_LISTED_CLASSES = 10
"""Classes in the legend at most."""


@dataclass(frozen=True)
class _View:
    """How a slice of an RAS array becomes a panel; R, A and S grow with the index, so all axes are shown reversed."""

    name: str
    axis: int
    """Cut across; the two others run along the columns and the rows, in this order."""
    sides: tuple[str, str, str, str]
    """Letters on the left, right, top and bottom."""

    @property
    def plane(self) -> tuple[int, int]:
        columns, rows = (axis for axis in range(3) if axis != self.axis)
        return columns, rows

    def pixels(self, voxels: Voxels, index: int) -> Voxels:
        """(rows, columns), top row first."""
        return np.asarray(np.flip(np.take(voxels, index, axis=self.axis).T, (0, 1)))


_VIEWS = (
    _View("axial", 2, ("R", "L", "A", "P")),
    _View("coronal", 1, ("R", "L", "S", "I")),
    _View("sagittal", 0, ("A", "P", "S", "I")),
)


@dataclass(frozen=True)
class _Scene:
    """What is shown: arrays of one shape in RAS order, cut to the region of interest."""

    image: Voxels
    reference: NDArray[np.uint8] | None
    segmentation: NDArray[np.uint8]
    affine: Affine

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    def slice_index(self, view: _View) -> int:
        """The slice with the most errors, else the most labels, else the middle one."""
        for mask in (self.errors(), self.labelled()):
            areas = np.count_nonzero(mask, axis=view.plane)
            if areas.any():
                return int(np.argmax(areas))
        return int(self.image.shape[view.axis]) // 2

    def errors(self) -> NDArray[np.bool_]:
        if self.reference is None:
            return np.zeros(self.segmentation.shape, dtype=bool)
        return np.asarray((self.reference != self.segmentation) & (self.reference != IGNORE_INDEX))

    def labelled(self) -> NDArray[np.bool_]:
        found = _foreground(self.segmentation)
        return found if self.reference is None else found | _foreground(self.reference)

    def position_mm(self, view: _View, index: int) -> float:
        """World coordinate of the slice's centre along the axis that it cuts."""
        centre = np.append((np.array(self.image.shape) - 1) / 2, 1.0)
        centre[view.axis] = index
        return float((self.affine @ centre)[view.axis])


def overlay(
    image: Volume,
    reference: Volume | None,
    segmentation: Volume,
    class_names: Sequence[str],
    *,
    intensity_range_hu: tuple[float, float],
    title: str,
    path: Path,
) -> None:
    """Draw an axial, a coronal and a sagittal slice with contours and errors as one PNG.

    Each slice is the one with the largest error area; without errors, or without a reference, the one with the largest
    labelled area. Reference contours are solid, the segmentation's dashed; missed and extra voxels are tinted. The
    legend gives each class's Dice over the whole study.

    Args:
        image: HU in any orientation; an oblique grid is shown along its own axes, those nearest to R, A, S.
        reference: class indices, maybe with ``IGNORE_INDEX``; None shows the segmentation alone.
        segmentation: class indices.
        class_names: foreground names, class 1 first.
        intensity_range_hu: the HU shown black and white.
        title: above the picture.
        path: the PNG; written whole or not at all.

    Raises:
        GeometryError: the volumes do not share a grid.
        ValueError: a label is no class.
    """
    for volume, name in ((reference, "reference"), (segmentation, "segmentation")):
        if volume is not None:
            require_same_grid(image.grid, volume.grid, f"{title}: image and {name}")
    scene = _scene(image, reference, segmentation)
    extents_mm = np.array(scene.image.shape) * scene.spacing_mm
    ratios = [float(extents_mm[view.plane[0]] / extents_mm[view.plane[1]]) for view in _VIEWS]
    styles = [] if reference is None else _style_handles(len(class_names))
    figure, axes = _panels(ratios, _class_handles(class_names, reference, segmentation), styles)
    for ax, view in zip(axes, _VIEWS, strict=True):
        _draw(ax, scene, view, intensity_range_hu, len(class_names))
    low, high = intensity_range_hu
    figure.text(0.008, 0.985, title, color=TEXT, ha="left", va="top", fontsize=13, fontweight="bold")
    figure.text(0.992, 0.985, f"{low:g} to {high:g} HU", color=QUIET, ha="right", va="top", fontsize=10)
    save(figure, path)


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


def pick_best_median_worst(scores: Sequence[StudyScores], label: str | None = None) -> dict[Rank, str]:
    """Choose the studies worth looking at.

    Args:
        scores: studies; those whose Dice is NaN (the label is in neither) cannot be chosen.
        label: ranks by this label's Dice; None by the mean over the foreground labels.

    Returns:
        study_id of the best, the median (the lower of two) and the worst; no study twice, so a single one is only
        ``best``, and two are ``best`` and ``worst``. Empty without a study to rank.
    """
    dice = {
        study.study_id: mean_defined(row.dice for row in study.rows if label in (None, row.label)) for study in scores
    }
    ranked = sorted((value, study_id) for study_id, value in dice.items() if not math.isnan(value))
    if not ranked:
        return {}
    picks: dict[Rank, str] = {"best": ranked[-1][1]}
    if len(ranked) > 2:
        picks["median"] = ranked[(len(ranked) - 1) // 2][1]
    if len(ranked) > 1:
        picks["worst"] = ranked[0][1]
    return picks


def _foreground(classes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((classes != 0) & (classes != IGNORE_INDEX))


def _scene(image: Volume, reference: Volume | None, segmentation: Volume) -> _Scene:
    affine = image.grid.affine
    voxels, ras = reorient(image.voxels, affine)
    whole = _Scene(
        voxels,
        None if reference is None else reorient(reference.voxels, affine)[0],
        reorient(segmentation.voxels, affine)[0],
        ras,
    )
    box = _region(whole.labelled(), whole.spacing_mm)
    start = np.eye(4)
    start[:3, 3] = [part.start for part in box]
    return _Scene(
        whole.image[box],
        None if whole.reference is None else whole.reference[box],
        whole.segmentation[box],
        ras @ start,
    )


def _region(labelled: NDArray[np.bool_], spacing_mm: NDArray[np.float64]) -> tuple[slice, slice, slice]:
    """Box around the labels with a margin, not smaller than ``_LEAST_EXTENT_MM``; everything if nothing is labelled."""
    box = []
    for axis, length in enumerate(labelled.shape):
        found = np.flatnonzero(labelled.any(axis=tuple(a for a in range(3) if a != axis)))
        if not found.size:
            return slice(0, labelled.shape[0]), slice(0, labelled.shape[1]), slice(0, labelled.shape[2])
        extent = (found[-1] - found[0] + 1) * spacing_mm[axis]
        margin = max(_MARGIN_MM, (_LEAST_EXTENT_MM - extent) / 2) / spacing_mm[axis]
        box.append(slice(max(0, int(found[0] - margin)), min(length, int(found[-1] + 1 + margin))))
    return box[0], box[1], box[2]


def _draw(ax: Axes, scene: _Scene, view: _View, intensity_range_hu: tuple[float, float], num_foreground: int) -> None:
    index = scene.slice_index(view)
    columns_mm, rows_mm = (scene.spacing_mm[axis] for axis in view.plane)
    low, high = intensity_range_hu
    ax.imshow(
        view.pixels(scene.image, index),
        cmap="gray",
        vmin=low,
        vmax=high,
        aspect=rows_mm / columns_mm,
        interpolation="bilinear",
    )
    segmentation = view.pixels(scene.segmentation, index)
    if scene.reference is not None:
        reference = view.pixels(scene.reference, index)
        ax.imshow(_tint(reference, segmentation), aspect=rows_mm / columns_mm, interpolation="nearest")
        _contour(ax, reference, num_foreground, "solid")
    _contour(ax, segmentation, num_foreground, "solid" if scene.reference is None else _DASHES)
    left, right, top, bottom = view.sides
    for x, y, letter in ((0.02, 0.5, left), (0.98, 0.5, right), (0.5, 0.97, top), (0.5, 0.03, bottom)):
        _label(ax, x, y, letter, ha="center", va="center", fontweight="bold")
    where = f"{view.name}  {'RAS'[view.axis]} {scene.position_mm(view, index):+.0f} mm"
    ax.set_title(where, loc="left", color=QUIET, fontsize=10, pad=4)


def _tint(reference: Voxels, segmentation: Voxels) -> Voxels:
    in_reference, in_segmentation = _foreground(reference), _foreground(segmentation)
    tint = np.zeros((*reference.shape, 4))
    for mask, hue in (
        (in_reference & ~in_segmentation, _MISSED),
        (in_segmentation & (reference == 0), _EXTRA),
        (in_reference & in_segmentation & (reference != segmentation), _CONFUSED),
    ):
        tint[mask] = to_rgba(hue, _TINT_OPACITY)
    return tint


def _contour(ax: Axes, classes: Voxels, num_foreground: int, linestyle: Any) -> None:
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


def _class_handles(class_names: Sequence[str], reference: Volume | None, segmentation: Volume) -> list[Patch]:
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


def _style_handles(num_foreground: int) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=TEXT, linewidth=1.3, label="reference"),
        Line2D([], [], color=TEXT, linewidth=1.3, linestyle=_DASHES, label="segmentation"),
        Patch(color=_MISSED, alpha=0.8, label="missed"),
        Patch(color=_EXTRA, alpha=0.8, label="extra"),
    ]
    return handles if num_foreground == 1 else [*handles, Patch(color=_CONFUSED, alpha=0.8, label="other label")]


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


def _panels(
    ratios: Sequence[float], classes: Sequence[Patch], styles: Sequence[Line2D | Patch]
) -> tuple[Figure, list[Axes]]:
    """A dark figure with panels of equal height side by side (ratio: width / height) and two legends below."""
    shown = np.clip(ratios, 0.5, 3.5)  # a study of one slice still gets three panels that can be seen
    gap, top = 0.1, 0.58
    height = min(_HIGHEST_PANEL_INCHES, (_WIDTH_INCHES - gap * (len(shown) + 1)) / float(shown.sum()))
    width = height * float(shown.sum()) + gap * (len(shown) + 1)
    in_a_row = max(1, int((width - _STYLES_INCHES * bool(styles)) / _CLASS_INCHES))
    bottom = 0.14 + 0.26 * max(1, math.ceil(len(classes) / in_a_row))
    total = top + height + bottom
    figure = Figure(figsize=(width, total), dpi=DPI, facecolor=BACKGROUND)
    axes, left = [], gap
    for ratio in shown:
        ax = figure.add_axes((left / width, bottom / total, height * ratio / width, height / total))
        ax.set(facecolor="black", xticks=[], yticks=[])
        axes.append(ax)
        left += height * ratio + gap
    look: dict[str, Any] = {"frameon": False, "labelcolor": TEXT, "fontsize": 10.5, "columnspacing": 1.6}
    look |= {"borderaxespad": 0.0, "borderpad": 0.2, "handlelength": 1.6}
    below = (bottom - 0.06) / total
    figure.legend(handles=classes, loc="upper left", bbox_to_anchor=(0.004, below), ncols=in_a_row, **look)
    figure.legend(handles=styles, loc="upper right", bbox_to_anchor=(0.996, below), ncols=len(styles) or 1, **look)
    return figure, axes


def _label(ax: Axes, x: float, y: float, text: str, **options: Any) -> None:
    shadow = [withStroke(linewidth=2.5, foreground="black")]  # readable on bone and on air
    ax.text(x, y, text, transform=ax.transAxes, color=TEXT, fontsize=10, path_effects=shadow, **options)
