"""Where a study's errors lie: missed and extra voxels of the whole volume, seen from three sides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from numpy.typing import NDArray

from medseg.reports.figures.drawing import (
    class_handles,
    contour,
    panels,
    say_where,
    show_gray,
    style_handles,
    write_heading,
)
from medseg.reports.scene import VIEWS, Scene, View, foreground, make_scene
from medseg.reports.style import EXTRA, MISSED, save
from medseg.types import Volume

_DENSE_FROM_MM = 20.0
"""Depth of errors behind a pixel from which it is drawn opaque."""

_THINNEST = 0.25
"""Opacity of a pixel with a single wrong voxel behind it."""


def error_map(
    image: Volume,
    reference: Volume,
    segmentation: Volume,
    class_names: Sequence[str],
    *,
    intensity_range_hu: tuple[float, float],
    title: str,
    path: Path,
) -> None:
    """Draw how much was missed (above) and how much is extra (below), added up along each axis, as one PNG.

    The denser a pixel, the more millimetres of wrong voxels lie behind it. A voxel with another label in each side
    counts as missed for the one and as extra for the other. Behind it the mean HU along the axis and the silhouettes
    of the reference's classes.

    Args:
        image: HU in any orientation.
        reference: class indices, maybe with ``IGNORE_INDEX``.
        segmentation: class indices.
        class_names: foreground names, class 1 first.
        intensity_range_hu: the HU shown black and white.
        title: above the picture.
        path: the PNG; written whole or not at all.

    Raises:
        GeometryError: the volumes do not share a grid.
        ValueError: a label is no class.
    """
    scene = make_scene(image, reference, segmentation, title)
    assert scene.reference is not None
    wrong = scene.errors()
    handles = class_handles(class_names, reference, segmentation)
    styles = [handle for handle in style_handles(1) if handle.get_label() != "segmentation"]
    figure, rows = panels([scene.ratio(view) for view in VIEWS], handles, styles, rows=2)
    sides = (("missed", scene.reference, MISSED), ("extra", scene.segmentation, EXTRA))
    for (name, labels, hue), axes in zip(sides, rows, strict=True):
        mask = wrong & foreground(labels)
        for ax, view in zip(axes, VIEWS, strict=True):
            _draw_background(ax, scene, view, intensity_range_hu)
            depth_mm = _along(view, mask.sum(axis=view.axis)) * scene.spacing_mm[view.axis]
            _draw_depth(ax, depth_mm, hue)
            _draw_silhouettes(ax, scene, view, len(class_names))
            say_where(ax, f"{name}, {view.name}: up to {depth_mm.max(initial=0):.0f} mm deep")
    write_heading(figure, title, "all slices together")
    save(figure, path)


def _draw_background(ax: Axes, scene: Scene, view: View, intensity_range_hu: tuple[float, float]) -> None:
    low, high = intensity_range_hu
    mean = _along(view, np.clip(scene.image, low, high).mean(axis=view.axis))  # air would hide the body
    show_gray(ax, scene, view, mean, (low, high + 0.6 * (high - low)))  # darker than a slice: it only says where


def _draw_depth(ax: Axes, depth_mm: NDArray[np.float64], hue: str) -> None:
    tints = np.zeros((*depth_mm.shape, 4))
    tints[:] = to_rgba(hue, 0.0)
    shade = _THINNEST + (1 - _THINNEST) * np.clip(depth_mm / _DENSE_FROM_MM, 0, 1)
    tints[..., 3] = np.where(depth_mm > 0, shade, 0)
    ax.imshow(tints, aspect=ax.get_aspect(), interpolation="nearest")


def _draw_silhouettes(ax: Axes, scene: Scene, view: View, num_foreground: int) -> None:
    assert scene.reference is not None
    for index in range(1, num_foreground + 1):
        shadow = (scene.reference == index).any(axis=view.axis)
        contour(ax, _along(view, shadow).astype(np.uint8) * index, num_foreground, "solid")


def _along(view: View, projected: NDArray[np.generic]) -> NDArray[np.float64]:
    """A projection along the view's axis as (rows, columns)."""
    return np.asarray(view.pixels(np.expand_dims(projected, view.axis), 0), dtype=np.float64)
