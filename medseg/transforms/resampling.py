"""Resampling between grids whose axes are aligned, as one small matrix an axis.

Convention: the outer edges of the two grids coincide, so output voxel o has its centre at
(o + 0.5) * n_in / n_out - 0.5 in input voxels. That is ``torch.nn.functional.interpolate(align_corners=False)``; an
affine made by ``resampled_affine`` says exactly where the new voxels lie, and going there and back covers the same
millimetres.

A matrix product an axis costs about as much as a hand-written loop, allows any support (so that coarse grids average
instead of picking voxels), and touches one slab at a time.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medseg.types import Affine, Grid, Shape3

_SLAB_ELEMENTS = 2**24
"""Float32 values of one working slab: 64 MiB."""


def axis_matrix(n_in: int, n_out: int, *, antialias: bool) -> Tensor:
    """Weights (n_out, n_in) of linear interpolation between edge-aligned axes; every row sums to 1.

    Args:
        n_in: voxels of the input axis.
        n_out: voxels of the output axis.
        antialias: widen the triangle to the output voxel where the output is coarser than the input.
    """
    scale = n_in / n_out
    centres = (torch.arange(n_out, dtype=torch.float64) + 0.5) * scale - 0.5
    half_width = max(scale, 1.0) if antialias else 1.0
    distance = (torch.arange(n_in, dtype=torch.float64)[None, :] - centres[:, None]).abs()
    weights = (1.0 - distance / half_width).clamp_min(0.0)
    # at the two ends part of the triangle lies outside; what is inside is scaled up, as clamping to the edge would
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


def resample_image(voxels: Tensor, shape: Shape3, *, antialias: bool) -> Tensor:
    """Linear interpolation of (I, J, K) voxels of any real type to float32 (I', J', K'), in slabs along I.

    Args:
        voxels: (I, J, K), may be non-contiguous (a flipped or permuted view).
        shape: the output's I', J', K'.
        antialias: average when shrinking.

    Returns:
        A new contiguous tensor that shares no memory with ``voxels``, also where nothing has to be resampled.
    """
    if tuple(voxels.shape) == shape:
        return voxels.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    to_i, to_j, to_k = (axis_matrix(a, b, antialias=antialias) for a, b in zip(voxels.shape, shape, strict=True))
    out = torch.zeros((shape[0], shape[1] * shape[2]))
    rows = max(1, _SLAB_ELEMENTS // max(1, voxels.shape[1] * voxels.shape[2]))
    for start in range(0, voxels.shape[0], rows):
        slab = voxels[start : start + rows].float() @ to_k.T
        slab = torch.matmul(to_j, slab)
        out += to_i[:, start : start + rows] @ slab.reshape(slab.shape[0], -1)
    return out.reshape(shape)


def resample_classes(classes: Tensor, shape: Shape3, *, antialias: bool) -> Tensor:
    """Class indices (I, J, K) uint8 to (I', J', K') uint8: each class is interpolated as a mask, the largest wins.

    Ties go to the lower class index. Memory grows with the grid, not with the number of classes.
    """
    if tuple(classes.shape) == shape:
        return classes.contiguous()
    winner = torch.zeros(shape, dtype=torch.uint8)
    share = torch.full(shape, -1.0)
    for value in torch.unique(classes).tolist():
        mine = resample_image((classes == value).to(torch.uint8), shape, antialias=antialias)
        better = mine > share
        winner[better] = int(value)
        share = torch.where(better, mine, share)
    return winner


def linear_positions(n_in: int, n_out: int) -> tuple[Tensor, Tensor]:
    """Where each output voxel's centre lies between two input voxels of an edge-aligned axis.

    Returns:
        (n_out,) int64 index of the input voxel below, and (n_out,) float32 share of the way to the next one, in [0, 1];
        beyond the first and last centre the edge voxel counts alone.
    """
    centres = (torch.arange(n_out, dtype=torch.float64) + 0.5) * (n_in / n_out) - 0.5
    centres = centres.clamp(0, n_in - 1)
    below = centres.floor().clamp(max=max(0, n_in - 2))
    return below.long(), (centres - below).float()
