"""DeepLab v3+: Chen, Zhu, Papandreou, Schroff and Adam 2018, arXiv 1802.02611."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from medseg.networks.aspp import ASPP
from medseg.networks.blocks import (
    Norm,
    apply,
    conv,
    conv_norm_act,
    initialise,
    initialise_classifier,
    separable_conv_norm_act,
)
from medseg.networks.encoders import AtrousEncoder, atrous_encoder
from medseg.networks.encoders.resnet import Stem
from medseg.networks.encoders.strides import StemStride
from medseg.networks.options import Count, Probability, Width
from medseg.networks.sizes import crop, pad_small
from medseg.networks.upsampling import resize

RATES: dict[int, tuple[int, ...]] = {16: (6, 12, 18), 8: (12, 24, 36)}
"""The paper's atrous rates by output stride, for crops of 513 pixels."""


class DeepLabV3Plus(nn.Module):
    """ASPP on the encoder's last map, then a small decoder that adds the encoder's first stage.

    The maps that are concatenated have the stride of the first stage: 4, or 2 where the stem does not stride.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        encoder: ResNet or MobileNetV2.
        output_stride: of the last map, 8 or 16.
        separable: depthwise-separable convolutions in ASPP and decoder, as the paper's title has it.
        atrous_rates: of ASPP; None is the paper's for the output stride. They count cells of the last map: on small
            patches take at most 0.4 of its length (``patch_warnings`` tells).
        aspp_channels: of each ASPP branch.
        low_level_channels: to which the first stage is reduced.
        decoder_channels: of the decoder's two convolutions.
        dropout: after ASPP.
        norm: after every convolution but the last.
        width: factor on the encoder's channels.
        stem: a ResNet's first layers, `7x7`, `c` (3x3 32-32-64) or `s` (3x3 64-64-128); None is `7x7`.
        stem_stride: 1 keeps volumes of 64 voxels large enough: all strides halve, so an output stride of 16 has no
            dilation. One number an axis serves thick slices: [2, 2, 1].
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        encoder: AtrousEncoder = "resnet50",
        output_stride: Literal[8, 16] = 16,
        separable: bool = True,
        atrous_rates: tuple[Count, ...] | None = None,
        aspp_channels: Count = 256,
        low_level_channels: Count = 48,
        decoder_channels: Count = 256,
        dropout: Probability = 0.1,
        norm: Norm = "batch",
        width: Width = 1.0,
        stem: Stem | None = None,
        stem_stride: StemStride = 2,
    ) -> None:
        super().__init__()
        self.rates = tuple(RATES[output_stride] if atrous_rates is None else atrous_rates)
        backbone = atrous_encoder(
            encoder,
            spatial_dims,
            in_channels,
            output_stride=output_stride,
            stem=stem,
            stem_stride=stem_stride,
            norm=norm,
            width=width,
        )
        self.encoder = backbone
        self.strides = backbone.strides[-1]
        self.minimum = tuple(stride + 1 for stride in self.strides)
        self.aspp = ASPP(
            spatial_dims,
            backbone.channels[-1],
            aspp_channels,
            rates=self.rates,
            separable=separable,
            norm=norm,
            dropout=dropout,
        )
        block = separable_conv_norm_act if separable else conv_norm_act
        self.low_level = conv_norm_act(spatial_dims, backbone.channels[1], low_level_channels, 1, norm=norm)
        self.decoder = nn.Sequential(
            block(spatial_dims, aspp_channels + low_level_channels, decoder_channels, 3, norm=norm),
            block(spatial_dims, decoder_channels, decoder_channels, 3, norm=norm),
        )
        self.classifier = conv(spatial_dims, decoder_channels, num_classes, 1)
        initialise(self.aspp, self.low_level, self.decoder)
        initialise_classifier(self.classifier)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, I, J[, K]) -> logits (B, num_classes, I, J[, K])."""
        padded = pad_small(x, self.minimum)
        maps = self.encoder(padded)
        low_level = apply(self.low_level, maps[1])
        context = resize(self.aspp(maps[-1]), low_level.shape[2:])
        scores = self.classifier(self.decoder(torch.cat([context, low_level], dim=1)))
        return crop(resize(scores, padded.shape[2:]), x.shape[2:])

    def patch_warnings(self, patch_size: Sequence[int]) -> list[str]:
        """Name the atrous rates that reach beyond the last map of such a patch: only their centre tap is left."""
        cells = [math.ceil(n / stride) for n, stride in zip(patch_size, self.strides, strict=True)]
        beyond = [rate for rate in self.rates if rate >= min(cells)]
        if not beyond:
            return []
        largest = max(1, int(0.4 * min(cells)))
        return [
            f"network.atrous_rates: {_listed(beyond)} reach beyond the last feature map, which has {_by(cells)} cells "
            f"for a patch of {_by(patch_size)}; rates up to {largest} would use it (or take a larger patch, "
            "output_stride: 8 or stem_stride: 1)"
        ]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _by(numbers: Sequence[int]) -> str:
    return " x ".join(map(str, numbers))
