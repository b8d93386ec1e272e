"""DUC and HDC: Wang, Chen, Yuan, Liu, Huang, Hou and Cottrell 2018, arXiv 1702.08502."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.encoders import Backbone
from medseg.networks.layers.blocks import apply, conv, conv_norm_act, initialise, initialise_classifier
from medseg.networks.layers.encoder_network import EncoderNetwork
from medseg.networks.layers.patches import rate_warnings
from medseg.networks.layers.upsampling import pixel_shuffle
from medseg.networks.options import Count, Probability

Rates = Annotated[tuple[Count, ...], Field(min_length=1)]

LAYER3 = (2, 2, 5, 9, *(1, 2, 5, 9) * 8)
"""Dilations of layer3, one 3x3 convolution after the other: as in the authors' code, whose very first is 2, not 1."""

LAYER4 = (5, 9, 17)
"""Dilations of layer4."""


def largest_gap(rates: Sequence[int]) -> int:
    """The paper's M_2: the largest distance between voxels that all but the first of these dilations leave untouched.

    Hybrid dilated convolution wants it at most 3, the kernel of the first: (1, 2, 5) gives 2, (1, 2, 9) gives 5. The
    rule does not see a common factor: (2, 2, 2) gives 2 too, but never meets an odd voxel.
    """
    gap = rates[-1]
    for rate in reversed(rates[1:-1]):
        gap = max(gap - 2 * rate, 2 * rate - gap, rate)
    return gap


class DUC(EncoderNetwork):
    """Each cell of the coarse map predicts a block of finer scores, which are laid out side by side.

    The scores are the sum of four dilated 3x3 convolutions without norm and ReLU. The blocks reach half the image's
    resolution in the paper (cells of 4 at stride 8), and linear interpolation the image's.

    The encoder's dilations change from convolution to convolution (HDC), so that together they leave no holes.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        backbone: the encoder's options. An output stride of 8 and the stem `s` are the paper's. MobileNetV2 has neither
            that stem (give it `stem: null`) nor HDC.
        cell: length of a cell's block, at most the output stride; an axis that strides less has less. None is the
            paper's 4 in 2D and 2 in 3D, where the weights grow with its cube.
        bottleneck_channels: of a 1x1 convolution before the four, for many classes in 3D; None leaves it out.
        atrous_rates: of the four convolutions, in cells of the last map.
        layer3_rates: dilations of the third stage, one 3x3 convolution after the other and over again; None is the
            authors' 1, 2, 5, 9 (the very first 2).
        layer4_rates: likewise of the last stage; None is the authors' 5, 9, 17.
        dropout: before the four convolutions (the paper has none).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        backbone: Backbone = Backbone(output_stride=8, stem="s"),  # noqa: B008 - frozen
        cell: Count | None = None,
        bottleneck_channels: Count | None = None,
        atrous_rates: Rates = (6, 12, 18, 24),
        layer3_rates: Rates | None = None,
        layer4_rates: Rates | None = None,
        dropout: Probability = 0.0,
    ) -> None:
        stage_rates = _stage_rates(backbone, layer3_rates, layer4_rates)
        super().__init__(spatial_dims, in_channels, backbone, rates=stage_rates)
        stride = self.encoder.strides[-1]
        cell = cell or (4 if spatial_dims == 2 else 2)
        if cell > max(stride):
            raise ConfigError(f"network.cell: expected at most {max(stride)}, the output stride, found {cell}")
        self.cells = tuple(min(cell, s) for s in stride)
        self.atrous_rates, self.layer3_rates, self.stage_rates = atrous_rates, layer3_rates, stage_rates
        channels = self.encoder.channels[-1]
        self.bottleneck: nn.Module = nn.Identity()
        if bottleneck_channels is not None:
            self.bottleneck = conv_norm_act(spatial_dims, channels, bottleneck_channels, 1, norm=backbone.norm)
            initialise(self.bottleneck)
        self.dropout = nn.Dropout(dropout)
        block = num_classes * math.prod(self.cells)
        self.projections = nn.ModuleList(
            conv(spatial_dims, bottleneck_channels or channels, block, 3, dilation=rate) for rate in atrous_rates
        )
        initialise_classifier(self.projections)

    def score(self, maps: list[Tensor]) -> Tensor:
        """Scores at ``cell`` times the size of the last map."""
        x = apply(self.dropout, self.bottleneck(maps[-1]))
        return pixel_shuffle(torch.stack([layer(x) for layer in self.projections]).sum(dim=0), self.cells)

    def patch_warnings(self, patch_size: Sequence[int]) -> list[str]:
        """Name the dilations that reach beyond the map they work on, and those of layer3 that leave holes."""
        warnings = rate_warnings("atrous_rates", self.atrous_rates, patch_size, self.encoder.strides[-1])
        for stage, rates in self.stage_rates.items():
            warnings += rate_warnings(f"layer{stage}_rates", rates, patch_size, self.encoder.strides[stage])
        given = self.layer3_rates
        if given and (largest_gap(given) > 3 or math.gcd(*given) > 1):
            warnings.append(
                f"network.layer3_rates: {', '.join(map(str, given))} leave voxels untouched between those they read; "
                "rates such as 1, 2, 5 have no common factor and fill each other's gaps"
            )
        return warnings


def _stage_rates(
    backbone: Backbone, layer3: tuple[int, ...] | None, layer4: tuple[int, ...] | None
) -> Mapping[int, tuple[int, ...]]:
    """Dilations of the ResNet's last two stages; other encoders have none to choose."""
    if backbone.encoder.startswith("resnet"):
        if backbone.dilate_first_block:
            raise ConfigError("network.dilate_first_block: layer3_rates and layer4_rates decide that here; remove it")
        return {3: layer3 or LAYER3, 4: layer4 or LAYER4}
    if layer3 or layer4:
        raise ConfigError(
            "network.layer3_rates: only ResNet encoders have it and layer4_rates; remove them or change the encoder, "
            f"which is {backbone.encoder}"
        )
    return {}
