"""Boxes around the classes of a label map, in one pass, however the array lies in memory."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Box: TypeAlias = tuple[slice, ...]
"""One slice an axis, without a step."""


def class_boxes(labels: NDArray[Any], classes: int) -> list[Box | None]:
    """The smallest box of every class from 1 on; None for one without a voxel.

    Args:
        labels: (I, J, K) integers. Values below 1 or beyond ``classes`` have no box.
        classes: how many.
    """
    order = axes_in_memory(labels)
    turned = labels.transpose(order)
    filled = np.flatnonzero([plane.any() for plane in turned])
    if not filled.size:
        return [None] * classes
    # Looking for what is not 0 takes a tenth of the time of looking at classes, and most of a CT is background.
    planes = _from_to(filled)
    shadow = np.bitwise_or.reduce(turned[planes], axis=0) != 0
    outer = (planes, *(_from_to(np.flatnonzero(shadow.any(axis=axis))) for axis in (1, 0)))
    back = np.argsort(order)
    return [
        box and tuple(slice(outer[n].start + box[n].start, outer[n].start + box[n].stop) for n in back)
        for box in ndimage.find_objects(turned[outer], max_label=classes)
    ]


def axes_in_memory(array: NDArray[Any]) -> list[int]:
    """Axes by stride, the longest first: in this order an array is walked through as it lies in memory."""
    return [int(axis) for axis in np.argsort([-abs(stride) for stride in array.strides], kind="stable")]


def united(a: Box | None, b: Box | None) -> Box | None:
    """The smallest box around both; None for none."""
    if a is None or b is None:
        return a or b
    return tuple(slice(min(p.start, q.start), max(p.stop, q.stop)) for p, q in zip(a, b, strict=True))


def _from_to(indices: NDArray[np.intp]) -> slice:
    return slice(int(indices[0]), int(indices[-1]) + 1)
