"""Pieces and holes of a mask: what the steps of post-processing are made of.

Every function takes a (I, J, K) boolean mask, cut to about the class's own box, and returns a new one. Beside masks
they need one int32 array of the box.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]

_TOUCHING = np.ones((3, 3, 3), dtype=bool)
"""26-connected: voxels that share a face, an edge or a corner."""

_ROUNDING = 1e-6
"""Relative; a volume that equals the limit but for the rounding of an affine is not below it."""


def components(mask: Mask) -> tuple[NDArray[np.int32], int]:
    """Number the 26-connected components 1, 2, ... in array order of their first voxel; 0 lies outside the mask."""
    numbers, count = ndimage.label(mask, structure=_TOUCHING)
    return numbers, int(count)


def chosen(mask: Mask, numbers: NDArray[np.int32], choice: Mask) -> Mask:
    """The voxels of ``mask`` whose component is chosen; ``choice[n]`` says it of component n."""
    out = np.zeros_like(mask)
    out[mask] = choice[numbers[mask]]  # by the mask's voxels alone: an index of the whole box would take 8 bytes each
    return out


def largest(mask: Mask) -> Mask:
    """Its largest 26-connected component; of equal ones the first in array order (lowest I, then J, then K)."""
    numbers, count = components(mask)
    if count < 2:
        return mask.copy()
    choice = np.zeros(count + 1, dtype=bool)
    choice[1 + np.bincount(numbers[mask])[1:].argmax()] = True
    return chosen(mask, numbers, choice)


def at_least(mask: Mask, minimum_ml: float, voxel_ml: float) -> Mask:
    """Its 26-connected components of at least ``minimum_ml`` millilitres each."""
    numbers, count = components(mask)
    sizes_ml = np.bincount(numbers[mask], minlength=count + 1) * voxel_ml
    return chosen(mask, numbers, sizes_ml >= minimum_ml * (1 - _ROUNDING))


def filled(mask: Mask) -> Mask:
    """The mask and its holes: 6-connected pieces of what lies around it that do not reach the border of its box.

    They are looked for in the mask's own box. A cavity that is open to the edge of the array is none: where a scan ends
    inside an organ, nobody knows how the cavity goes on.
    """
    out = mask.copy()
    box = ndimage.find_objects(mask.view(np.uint8))
    if not box:
        return out
    around = ~mask[box[0]]
    numbers, count = ndimage.label(around)
    holes = np.ones(count + 1, dtype=bool)
    for axis in range(3):
        for end in (0, -1):
            holes[np.unique(numbers.take(end, axis))] = False
    if holes[1:].any():
        out[box[0]] |= chosen(around, numbers, holes)
    return out
