"""A label map on another grid, by nearest neighbour through world coordinates.

A voxel of the new grid takes the value of the old voxel that its centre lies in; outside of the old grid it is
background. On the border between two voxels the one of the larger index wins. A slab is worked on at a time: beside the
two label maps there are a few tens of MB, whatever their size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryError
from medseg.types import Grid, Volume

_SLAB_VOXELS = 1 << 20

_ALIGNED = 1e-4
"""In voxels of the old grid, over the whole of the new one: what an axis may drift along another and still count as
parallel to one axis alone."""

_BORDER = 1e-6
"""In voxels: what a centre may lie short of a border by rounding, so that equal cases fall to one side."""

Indices = NDArray[np.intp]


def resample_nearest(labels: Volume, grid: Grid, what: str) -> NDArray[np.uint8]:
    """Bring a label map onto another grid.

    Args:
        labels: (I, J, K) uint8 class indices and their grid.
        grid: the new grid.
        what: names the study in the message.

    Returns:
        uint8 of the new grid's shape, in Fortran order as label files come.

    Raises:
        GeometryError: no voxel of the new grid lies in the old one.
    """
    out = np.zeros(grid.shape, np.uint8, order="F")
    any_inside = False
    for slab, places, inside in _slabs(labels.grid, grid):
        any_inside |= bool(inside.any())
        i, j, k = places
        out[:, :, slab] = np.where(inside, labels.voxels[i, j, k], 0)
    if not any_inside:
        raise GeometryError(
            f"{what}: expected grids that overlap, found none of the {grid.shape} voxels around "
            f"{_centre(grid)} mm inside the other grid, around {_centre(labels.grid)} mm; take the right pair of files"
        )
    return out


def outside_share(old: Grid, new: Grid) -> float:
    """Share of the new grid's voxels whose centre no voxel of the old one holds."""
    inside = sum(np.count_nonzero(np.broadcast_to(part, _shape(new, slab))) for slab, _, part in _slabs(old, new))
    return float(1 - inside / np.prod(new.shape))


def _slabs(old: Grid, new: Grid) -> Iterator[tuple[slice, tuple[Indices, Indices, Indices], NDArray[np.bool_]]]:
    """Slices of the new grid, the old voxel that each of theirs lies in, and whether there is one.

    Where no axis is oblique to the other grid, the arrays are not full but of shapes that broadcast: numpy then takes
    whole lines.
    """
    old_from_new = np.linalg.inv(old.affine) @ new.affine
    matrix, offset = old_from_new[:3, :3], old_from_new[:3, 3]
    reach = np.abs(matrix) * (np.array(new.shape) - 1)
    matrix = np.where(reach < _ALIGNED, 0.0, matrix)
    step = max(1, _SLAB_VOXELS // (new.shape[0] * new.shape[1]))
    for start in range(0, new.shape[2], step):
        stop = min(start + step, new.shape[2])
        axes = np.ogrid[: new.shape[0], : new.shape[1], start:stop]
        places, inside = [], np.ones((1, 1, 1), bool)
        for row, first, size in zip(matrix, offset, old.shape, strict=True):
            at = np.full((1, 1, 1), first)
            for share, axis in zip(row, axes, strict=True):
                at = at + share * axis if share else at
            nearest = np.floor(at + (0.5 + _BORDER)).astype(np.intp)
            inside = inside & (nearest >= 0) & (nearest < size)
            places.append(nearest.clip(0, size - 1))
        yield slice(start, stop), (places[0], places[1], places[2]), inside


def _shape(grid: Grid, slab: slice) -> tuple[int, int, int]:
    return grid.shape[0], grid.shape[1], slab.stop - slab.start


def _centre(grid: Grid) -> str:
    centre = grid.affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2) + grid.affine[:3, 3]
    return f"({', '.join(f'{value:.1f}' for value in centre)})"
