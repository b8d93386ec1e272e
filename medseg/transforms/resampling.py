"""Resampling between grids whose axes are aligned, as one small matrix an axis.

Convention: the outer edges of the two grids coincide, so output voxel o has its centre at
(o + 0.5) * n_in / n_out - 0.5 in input voxels. That is ``torch.nn.functional.interpolate(align_corners=False)``; an
affine made by ``resampled_affine`` says exactly where the new voxels lie, and going there and back covers the same
millimetres. Where another convention is asked for (``preprocessing.convention``), an ``Axis`` says which.

A matrix product an axis costs about as much as a hand-written loop, allows any support (so that coarse grids average
instead of picking voxels), and touches one slab at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medseg.types import Affine, Grid, Shape3

_SLAB_ELEMENTS = 2**24
"""Float32 values of one working slab: 64 MiB."""


@dataclass(frozen=True)
class Axis:
    """Where the voxels of a fine axis lie on a coarse one: at ``ratio * n + offset``, in voxels of the coarse."""

    ratio: float
    offset: float


Axes = tuple[Axis, Axis, Axis]
"""Of I, J, K."""


def edge_aligned(n_fine: int, n_coarse: int) -> Axis:
    """The axis whose outer edges coincide."""
    ratio = n_coarse / n_fine
    return Axis(ratio, 0.5 * ratio - 0.5)


def axis_matrix(n_in: int, n_out: int, *, antialias: bool, axis: Axis | None = None) -> Tensor:
    """Weights (n_out, n_in) of linear interpolation; every row sums to 1.

    Args:
        n_in: voxels of the input axis.
        n_out: voxels of the output axis.
        antialias: widen the triangle to the output voxel where the output is coarser than the input.
        axis: where the input's voxels lie on the output; edges aligned where none is given.
    """
    axis = axis or edge_aligned(n_in, n_out)
    centres = (torch.arange(n_out, dtype=torch.float64) - axis.offset) / axis.ratio
    half_width = max(1.0 / axis.ratio, 1.0) if antialias else 1.0
    # beyond the two ends the edge voxel counts; of a wide triangle what lies inside is scaled up
    centres = centres if antialias else centres.clamp(0, n_in - 1)
    distance = (torch.arange(n_in, dtype=torch.float64)[None, :] - centres[:, None]).abs()
    weights = (1.0 - distance / half_width).clamp_min(0.0)
    return (weights / weights.sum(dim=1, keepdim=True)).float()


def resampled_shape(grid: Grid, spacing_mm: tuple[float | None, float | None, float | None] | None) -> Shape3:
    """Voxels along each axis of a grid that covers the same box at about the given spacing (None keeps an axis)."""
    if spacing_mm is None:
        return grid.shape
    i, j, k = (
        n if target is None else max(1, round(n * own / target))
        for n, own, target in zip(grid.shape, grid.spacing_mm, spacing_mm, strict=True)
    )
    return i, j, k


def resampled_affine(grid: Grid, shape: Shape3) -> Affine:
    """Affine of a grid of ``shape`` voxels that covers exactly the box of ``grid``."""
    scale = np.asarray(grid.shape, dtype=float) / np.asarray(shape, dtype=float)
    to_old = np.diag([*scale, 1.0])
    to_old[:3, 3] = (scale - 1.0) / 2.0
    return np.asarray(grid.affine @ to_old)


def resample_image(voxels: Tensor, shape: Shape3, *, antialias: bool, axes: Axes | None = None) -> Tensor:
    """Linear interpolation of (I, J, K) voxels of any real type to float32 (I', J', K'), in slabs along I.

    Args:
        voxels: (I, J, K), may be non-contiguous (a flipped or permuted view).
        shape: the output's I', J', K'.
        antialias: average when shrinking.
        axes: where the voxels lie on the output; edges aligned where none are given.

    Returns:
        A new contiguous tensor that shares no memory with ``voxels``, also where nothing has to be resampled.
    """
    if tuple(voxels.shape) == shape and axes is None:
        return voxels.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    to_i, to_j, to_k = (
        axis_matrix(a, b, antialias=antialias, axis=axis)
        for a, b, axis in zip(voxels.shape, shape, axes or (None,) * 3, strict=True)
    )
    out = torch.zeros((shape[0], shape[1] * shape[2]))
    rows = max(1, _SLAB_ELEMENTS // max(1, voxels.shape[1] * voxels.shape[2]))
    for start in range(0, voxels.shape[0], rows):
        slab = voxels[start : start + rows].float() @ to_k.T
        slab = torch.matmul(to_j, slab)
        out += to_i[:, start : start + rows] @ slab.reshape(slab.shape[0], -1)
    return out.reshape(shape)


def resample_classes(classes: Tensor, shape: Shape3, *, antialias: bool, axes: Axes | None = None) -> Tensor:
    """Class indices (I, J, K) uint8 to (I', J', K') uint8: each class is interpolated as a mask, the largest wins.

    Ties go to the lower class index. Memory grows with the grid, not with the number of classes.
    """
    if tuple(classes.shape) == shape and axes is None:
        return classes.contiguous()
    winner = torch.zeros(shape, dtype=torch.uint8)
    share = torch.full(shape, -1.0)
    for value in torch.unique(classes).tolist():
        mine = resample_image((classes == value).to(torch.uint8), shape, antialias=antialias, axes=axes)
        better = mine > share
        winner[better] = int(value)
        share = torch.where(better, mine, share)
    return winner


def linear_positions(n_in: int, n_out: int, axis: Axis | None = None) -> tuple[Tensor, Tensor]:
    """Where each voxel of a fine axis lies between two voxels of a coarse one.

    Args:
        n_in: voxels of the coarse axis.
        n_out: voxels of the fine axis.
        axis: where the fine voxels lie; edges aligned where none is given.

    Returns:
        (n_out,) int64 index of the coarse voxel below, and (n_out,) float32 share of the way to the next one, in
        [0, 1]; beyond the first and last centre the edge voxel counts alone.
    """
    axis = axis or edge_aligned(n_out, n_in)
    centres = (torch.arange(n_out, dtype=torch.float64) * axis.ratio + axis.offset).clamp(0, n_in - 1)
    below = centres.floor().clamp(max=max(0, n_in - 2))
    return below.long(), (centres - below).float()
