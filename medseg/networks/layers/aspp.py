"""Atrous spatial pyramid pooling: the same map seen at several rates at once (DeepLab v3 and v3+)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.networks.layers.blocks import Norm, apply, conv, conv_norm_act, pooled_norm, separable_conv_norm_act

RATES: dict[int, tuple[int, ...]] = {32: (3, 6, 9), 16: (6, 12, 18), 8: (12, 24, 36), 4: (24, 48, 72)}
"""Atrous rates by output stride: the papers' at 16 and 8, for crops of 513 pixels, and the same reach elsewhere."""


class ImagePooling(nn.Module):
    """The mean of the whole map, projected and spread over the map again.

    The norm of the one-voxel map is ``pooled_norm``'s group norm, so that batch 1 can be trained; the papers have batch
    norm there, with as many parameters. In a sliding window the mean is the window's: use the window of training.
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, *, norm: Norm) -> None:
        super().__init__()
        self.project = nn.Sequential(
            conv(spatial_dims, in_channels, out_channels, 1, bias=norm == "none"),
            pooled_norm(norm, out_channels),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, I, J[, K]) -> (B, out, I, J[, K]), constant over space."""
        pooled = x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)
        return apply(self.project, pooled).expand(-1, -1, *x.shape[2:])


class ASPP(nn.Module):
    """A 1x1 branch, a 3x3 branch for each rate and image pooling, concatenated and projected.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the encoder's last map.
        out_channels: of each branch and of the result.
        rates: dilations of the 3x3 branches, in cells of the map.
        separable: depthwise and pointwise convolutions in those branches.
        norm: after each convolution.
        dropout: after the projection.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        rates: Sequence[int],
        separable: bool,
        norm: Norm,
        dropout: float,
    ) -> None:
        super().__init__()
        block = separable_conv_norm_act if separable else conv_norm_act
        self.branches = nn.ModuleList(
            [
                conv_norm_act(spatial_dims, in_channels, out_channels, 1, norm=norm),
                *(block(spatial_dims, in_channels, out_channels, 3, norm=norm, dilation=rate) for rate in rates),
                ImagePooling(spatial_dims, in_channels, out_channels, norm=norm),
            ]
        )
        self.project = nn.Sequential(
            conv_norm_act(spatial_dims, len(self.branches) * out_channels, out_channels, 1, norm=norm),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, I, J[, K]) -> (B, out, I, J[, K])."""
        return apply(self.project, torch.cat([branch(x) for branch in self.branches], dim=1))
