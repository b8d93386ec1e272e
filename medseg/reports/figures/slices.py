"""The best, the median and the worst axial slice of a study: contours above, errors below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.reports.figures.drawing import (
    class_handles,
    draw_slice,
    panels,
    say_where,
    style_handles,
    write_heading,
)
from medseg.reports.ranking import Rank, pick_slices
from medseg.reports.scene import VIEWS, make_scene
from medseg.reports.style import save
from medseg.types import Volume

_ORDER: tuple[Rank, ...] = ("worst", "median", "best")


def slices(
    image: Volume,
    reference: Volume,
    segmentation: Volume,
    class_names: Sequence[str],
    *,
    intensity_range_hu: tuple[float, float],
    title: str,
    path: Path,
) -> None:
    """Draw axial slices chosen by their own Dice (see ``ranking.pick_slices``) as one PNG.

    Args:
        image: HU in any orientation.
        reference: class indices, maybe with ``IGNORE_INDEX``.
        segmentation: class indices.
        class_names: foreground names, class 1 first.
        intensity_range_hu: the HU shown black and white.
        title: above the picture.
        path: the PNG; written whole or not at all. Where nothing is labelled the middle slice is shown.

    Raises:
        GeometryError: the volumes do not share a grid.
        ValueError: a label is no class.
    """
    scene = make_scene(image, reference, segmentation, title)
    assert scene.reference is not None
    axial = VIEWS[0]
    picks = pick_slices(scene.reference, scene.segmentation, axial.axis)
    chosen = [(rank, *picks[rank]) for rank in _ORDER if rank in picks]
    columns = [(index, f"{rank} slice, Dice {dice:.3f}") for rank, index, dice in chosen]
    columns = columns or [(scene.slice_index(axial), "nothing is labelled")]
    handles = class_handles(class_names, reference, segmentation)
    ratios = [scene.ratio(axial)] * max(2, len(columns))  # room for the legends
    figure, rows = panels(ratios, handles, style_handles(len(class_names)), rows=2)
    for contours, axes in zip((True, False), rows, strict=True):
        for ax, (index, text) in zip(axes, columns, strict=False):
            draw_slice(
                ax, scene, axial, index, intensity_range_hu, len(class_names), contours=contours, tints=not contours
            )
            where = f"S {scene.position_mm(axial, index):+.0f} mm"
            say_where(ax, f"{text}  {where}" if contours else f"errors  {where}")
        for ax in axes[len(columns) :]:
            ax.set_visible(False)
    low, high = intensity_range_hu
    write_heading(figure, title, f"{low:g} to {high:g} HU")
    save(figure, path)
