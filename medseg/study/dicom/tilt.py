"""Slices of a tilted gantry, moved within their planes until they stand straight above each other.

A tilted gantry scans parallel slices, each a little further along the tilted plane than the one before. Stacked as they
are they would make a sheared volume. Moved back by that offset, with linear interpolation between pixels, they make a
straight one; no slice is mixed with another.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.study.hounsfield import AIR_HU
from medseg.types import Affine, Grid

Pair = tuple[float, float]


def straight_grid(columns: int, rows: int, slices: int, shift_px: Pair, affine: Affine) -> tuple[Grid, Pair]:
    """The smallest straight grid that holds every slice whole.

    Args:
        columns: pixels along I.
        rows: pixels along J.
        slices: along K.
        shift_px: (I, J) from one slice to the next.
        affine: of the grid whose voxel (0, 0, 0) is the first slice's first pixel.

    Returns:
        The grid, and where on it, in pixels along I and J, the first slice's first pixel lies (whole numbers).
    """
    last = [(slices - 1) * shift for shift in shift_px]
    before = [-math.floor(min(0.0, end)) for end in last]
    i, j = (size + b + math.ceil(max(0.0, e)) for size, b, e in zip((columns, rows), before, last, strict=True))
    moved = affine.copy()
    moved[:3, 3] -= affine[:3, :2] @ before
    return Grid((i, j, slices), moved), (float(before[0]), float(before[1]))


def moved(plane: NDArray[Any], offset_px: Pair, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Put a slice onto a larger plane of air at an offset that need not be whole.

    Args:
        plane: (I, J) in HU.
        offset_px: where its pixel (0, 0) goes; at least 0, and such that the slice fits.
        shape: of the larger plane.

    Returns:
        ``shape`` float32; each pixel is interpolated linearly between the slice's pixels (and the air around them).
    """
    out = plane.astype(np.float32)
    for axis, (offset, size) in enumerate(zip(offset_px, shape, strict=True)):
        whole = math.floor(offset)
        part = np.float32(offset - whole)
        after = size - whole - out.shape[axis]
        near = _padded(out, axis, whole, after)
        out = near if part == 0 else (1 - part) * near + part * _padded(out, axis, whole + 1, after - 1)
    return out


def _padded(plane: NDArray[np.float32], axis: int, before: int, after: int) -> NDArray[np.float32]:
    pads = [(0, 0), (0, 0)]
    pads[axis] = (before, after)
    return np.pad(plane, pads, constant_values=AIR_HU)
