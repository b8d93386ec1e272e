"""A study in three planes, with its contours and errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.reports.figures.drawing import class_handles, draw_slice, panels, style_handles, write_heading
from medseg.reports.scene import VIEWS, make_scene
from medseg.reports.style import save
from medseg.types import Volume


def overlay(
    image: Volume,
    reference: Volume | None,
    segmentation: Volume,
    class_names: Sequence[str],
    *,
    intensity_range_hu: tuple[float, float],
    title: str,
    path: Path,
    by_reference: bool = False,
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
        by_reference: show the slices with the most reference, so that pictures of one study can be compared.

    Raises:
        GeometryError: the volumes do not share a grid.
        ValueError: a label is no class.
    """
    scene = make_scene(image, reference, segmentation, title, by_reference=by_reference)
    styles = [] if reference is None else style_handles(len(class_names))
    handles = class_handles(class_names, reference, segmentation)
    figure, (axes,) = panels([scene.ratio(view) for view in VIEWS], handles, styles)
    for ax, view in zip(axes, VIEWS, strict=True):
        index = scene.slice_index(view, by_reference=by_reference)
        draw_slice(ax, scene, view, index, intensity_range_hu, len(class_names))
    low, high = intensity_range_hu
    write_heading(figure, title, f"{low:g} to {high:g} HU")
    save(figure, path)
