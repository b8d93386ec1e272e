"""Cleaning a segmentation on the study's own grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_TOUCHING = np.ones((3, 3, 3), dtype=bool)
"""26-connected: voxels that share a face, an edge or a corner."""


def keep_largest(classes: NDArray[np.uint8], which: Sequence[int]) -> NDArray[np.uint8]:
    """Keep only the largest 26-connected component of each class in ``which``; the rest of it becomes background.

    Args:
        classes: (I, J, K) class indices; not changed.
        which: class indices. A class that is absent stays absent.

    Returns:
        A new (I, J, K) uint8 array.
    """
    out = classes.copy()
    for index in which:
        boxes = ndimage.find_objects((classes == index).astype(np.uint8))
        if not boxes or boxes[0] is None:
            continue
        box = boxes[0]  # components are counted inside the class's own box only
        mask = classes[box] == index
        components, count = ndimage.label(mask, structure=_TOUCHING)
        if count > 1:
            largest = int(np.bincount(components.ravel())[1:].argmax()) + 1
            out[box][mask & (components != largest)] = 0
    return out
