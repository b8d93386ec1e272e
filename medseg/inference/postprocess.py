"""Cleaning a segmentation on the study's own grid.

Class by class, a class after those that it must lie inside of, and for each class in this order, whatever the order in
the YAML:

    inside -> keep_largest -> fill_holes -> minimum_ml

So a tumour is measured against a liver that is already clean, and the largest tumour is the largest one in the liver.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.inference.components import at_least, filled, largest
from medseg.inference.inside import outside
from medseg.model.classes import Classes
from medseg.model.postprocess import PostProcessing
from medseg.types import Grid

Box = tuple[slice, ...]


def postprocess(
    label_map: NDArray[np.uint8], grid: Grid, settings: PostProcessing, classes: Classes
) -> NDArray[np.uint8]:
    """Clean a label map; thresholds are not its business, they decide what the label map is.

    Memory beside the result: a few masks and one int32 array of a class's own box.

    Args:
        label_map: (I, J, K) class indices; not changed. A class that is absent stays absent.
        grid: its grid: what a millimetre and a millilitre are.
        settings: the steps; none gives a copy.
        classes: whose names the settings use.

    Returns:
        A new (I, J, K) uint8 array.

    Raises:
        ConfigError: a name that is no class.
    """
    out = np.array(label_map, order="C")  # components are counted several times faster along the memory
    names = _in_order(settings, classes)
    boxes: list[Box | None] = [None, *ndimage.find_objects(out, max_label=255)] if names else []
    for name in names:
        index = classes.index(name)
        box = boxes[index]  # no step makes a class reach beyond it
        if box is None:
            continue
        if name in settings.inside:
            where = settings.inside[name]
            _put_inside(out, index, [classes.index(organ) for organ in where.of], where.margin_mm, boxes, grid)
        _clean(out[box], index, name, settings, grid.voxel_ml)
    return out


def _in_order(settings: PostProcessing, classes: Classes) -> list[str]:
    """The classes with a step, each after those that it must lie inside of, else in class order."""
    todo = sorted(settings.cleaned, key=classes.index)
    done: list[str] = []
    while todo:  # the settings refuse classes that must lie inside each other: one is always free
        free = next(n for n in todo if n not in settings.inside or not set(settings.inside[n].of) & set(todo))
        done.append(free)
        todo.remove(free)
    return done


def _put_inside(
    out: NDArray[np.uint8],
    index: int,
    organ: Sequence[int],
    margin_mm: float,
    boxes: Sequence[Box | None],
    grid: Grid,
) -> None:
    present = [box for box in (boxes[c] for c in (index, *organ)) if box is not None]
    box = tuple(  # one voxel more on every side: the surface of a component has two sides
        slice(max(min(side.start for side in sides) - 1, 0), max(side.stop for side in sides) + 1)
        for sides in zip(*present, strict=True)
    )
    out[box][outside(out[box], index, organ, grid.affine[:3, :3], margin_mm)] = 0


def _clean(view: NDArray[np.uint8], index: int, name: str, settings: PostProcessing, voxel_ml: float) -> None:
    """The steps that need the class alone, in place."""
    mask = view == index
    kept = mask
    if name in settings.keep_largest:
        kept = largest(kept)
    if name in settings.fill_holes:
        kept = filled(kept) & (mask | (view == 0))
    if name in settings.minimum_ml:
        kept = at_least(kept, settings.minimum_ml[name], voxel_ml)
    view[mask & ~kept] = 0
    view[kept] = index
