"""Cleaning a segmentation on the study's own grid.

Class by class, a class after those that it must lie inside of, and for each class in this order, whatever the order in
the YAML:

    inside -> keep_largest -> fill_holes -> minimum_ml

So a tumour is measured against a liver that is already clean, and the largest tumour is the largest one in the liver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.errors import ConfigError
from medseg.inference.components import at_least, filled, largest
from medseg.inference.inside import outside
from medseg.types import Grid

Box = tuple[slice, ...]


@dataclass(frozen=True)
class Inside:
    """Where a class must lie.

    Attributes:
        of: indices of the classes that make the organ.
        margin_mm: how far from the organ a voxel may be; 0 or more.
    """

    of: tuple[int, ...]
    margin_mm: float = 0.0


@dataclass(frozen=True)
class PostProcessing:
    """What becomes background, and what becomes filled; classes are indices from 1.

    Attributes:
        inside: class -> the organ that it must lie in; the rest of it becomes background (see ``inference.inside``).
        keep_largest: classes of which the largest 26-connected component stays; of equal ones the first in array order.
        fill_holes: classes whose holes (6-connected, closed in 3D) are filled; only background becomes the class.
        minimum_ml: class -> volume below which a 26-connected component becomes background.

    Raises:
        ConfigError: classes that must lie inside each other.
    """

    inside: Mapping[int, Inside] = field(default_factory=dict)
    keep_largest: tuple[int, ...] = ()
    fill_holes: tuple[int, ...] = ()
    minimum_ml: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.order()

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.inside or self.keep_largest or self.fill_holes or self.minimum_ml)

    def order(self) -> tuple[int, ...]:
        """The classes with a step, each after those that it must lie inside of, else ascending."""
        todo = sorted({*self.inside, *self.keep_largest, *self.fill_holes, *self.minimum_ml})
        done: list[int] = []
        while todo:
            free = [c for c in todo if c not in self.inside or not set(self.inside[c].of) & set(todo)]
            if not free:
                raise ConfigError(f"post-processing: classes {todo} must lie inside each other")
            done.append(free[0])
            todo.remove(free[0])
        return tuple(done)


def by_name(entries: Mapping[str, Any], class_names: Sequence[str]) -> PostProcessing:
    """Settings as a YAML or a model.json has them, with class names.

    Args:
        entries: ``{"keep_largest": ["liver"], "inside": {"tumour": {"of": ["liver"], "margin_mm": 5}}, ...}``.
        class_names: foreground names, class 1 first.

    Raises:
        ConfigError: a class that is not among them, or classes that must lie inside each other.
        TypeError: an unknown key.
    """

    def index(name: str) -> int:
        if name not in class_names:
            raise ConfigError(f"post-processing: {name!r} is not in {', '.join(class_names)}")
        return list(class_names).index(name) + 1

    def inside(of: Sequence[str], margin_mm: float = 0.0) -> Inside:
        return Inside(tuple(map(index, of)), margin_mm)

    entries = {
        **entries,
        "inside": {index(name): inside(**where) for name, where in entries.get("inside", {}).items()},
        "keep_largest": tuple(map(index, entries.get("keep_largest", ()))),
        "fill_holes": tuple(map(index, entries.get("fill_holes", ()))),
        "minimum_ml": {index(name): ml for name, ml in entries.get("minimum_ml", {}).items()},
    }
    return PostProcessing(**entries)


def postprocess(classes: NDArray[np.uint8], grid: Grid, settings: PostProcessing) -> NDArray[np.uint8]:
    """Clean a label map.

    Memory beside the result: a few masks and one int32 array of a class's own box.

    Args:
        classes: (I, J, K) class indices; not changed. A class that is absent stays absent.
        grid: its grid: what a millimetre and a millilitre are.
        settings: the steps; none gives a copy.

    Returns:
        A new (I, J, K) uint8 array.
    """
    out = np.array(classes, order="C")  # components are counted several times faster along the memory
    boxes: list[Box | None] = [None, *ndimage.find_objects(out, max_label=255)] if settings else []
    for index in settings.order():
        box = boxes[index]  # no step makes a class reach beyond it
        if box is None:
            continue
        if index in settings.inside:
            _put_inside(out, index, settings.inside[index], boxes, grid)
        _clean(out[box], index, settings, grid.voxel_ml)
    return out


def _put_inside(out: NDArray[np.uint8], index: int, where: Inside, boxes: Sequence[Box | None], grid: Grid) -> None:
    present = [box for box in (boxes[c] for c in (index, *where.of)) if box is not None]
    box = tuple(  # one voxel more on every side: the surface of a component has two sides
        slice(max(min(side.start for side in sides) - 1, 0), max(side.stop for side in sides) + 1)
        for sides in zip(*present, strict=True)
    )
    out[box][outside(out[box], index, where.of, grid.affine[:3, :3], where.margin_mm)] = 0


def _clean(view: NDArray[np.uint8], index: int, settings: PostProcessing, voxel_ml: float) -> None:
    """The steps that need the class alone, in place."""
    mask = view == index
    kept = mask
    if index in settings.keep_largest:
        kept = largest(kept)
    if index in settings.fill_holes:
        kept = filled(kept) & (mask | (view == 0))
    if index in settings.minimum_ml:
        kept = at_least(kept, settings.minimum_ml[index], voxel_ml)
    view[mask & ~kept] = 0
    view[kept] = index
