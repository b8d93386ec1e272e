"""Pyramid pooling: means of the map over grids of several sizes (PSPNet)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.networks.layers.aspp import ImagePooling
from medseg.networks.layers.blocks import Norm, apply, conv_norm_act
from medseg.networks.layers.upsampling import resize


def block_means(x: Tensor, bins: int) -> Tensor:
    """Means over a grid of ``bins`` blocks along each axis, or as many as an axis has cells.

    Blocks are those of adaptive average pooling: equal where the size is a multiple of ``bins``, overlapping otherwise.
    The means are taken axis by axis from plain slices, whose gradients repeat bit for bit on CUDA and which export.

    Args:
        x: (B, C, I, J[, K]).
        bins: blocks along an axis.
    """
    for axis, size in enumerate(x.shape[2:], start=2):
        blocks = min(bins, size)
        edges = [(i * size // blocks, -(-(i + 1) * size // blocks)) for i in range(blocks)]
        x = torch.cat([x.narrow(axis, start, end - start).mean(axis, keepdim=True) for start, end in edges], dim=axis)
    return x


class GridPooling(nn.Module):
    """The means of a grid, projected and enlarged to the map again: (B, in, I, J[, K]) -> (B, out, I, J[, K])."""

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, bins: int, *, norm: Norm) -> None:
        super().__init__()
        self.bins = bins
        self.project = conv_norm_act(spatial_dims, in_channels, out_channels, 1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Linear between the centres of the blocks."""
        return resize(apply(self.project, block_means(x, self.bins)), x.shape[2:])


class PyramidPooling(nn.Module):
    """The map and its means over each grid, concatenated.

    The branch of one block is ``aspp.ImagePooling``, whose norm holds on one voxel.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the map.
        bins: blocks of each grid along an axis.
        norm: after each projection.

    Attributes:
        out_channels: of the result: the map's and, shared among the grids (in multiples of 8), as many again.
    """

    def __init__(self, spatial_dims: int, in_channels: int, bins: Sequence[int], *, norm: Norm) -> None:
        super().__init__()
        channels = max(8, in_channels // len(bins) // 8 * 8)
        self.branches = nn.ModuleList(
            ImagePooling(spatial_dims, in_channels, channels, norm=norm)
            if n == 1
            else GridPooling(spatial_dims, in_channels, channels, n, norm=norm)
            for n in bins
        )
        self.out_channels = in_channels + len(bins) * channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, I, J[, K]) -> (B, out_channels, I, J[, K])."""
        return torch.cat([x, *(branch(x) for branch in self.branches)], dim=1)
