"""DeepLab v3+: Chen, Zhu, Papandreou, Schroff and Adam 2018, arXiv 1802.02611."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.networks.encoders import Backbone
from medseg.networks.layers.aspp import ASPP, RATES
from medseg.networks.layers.blocks import (
    apply,
    conv,
    conv_norm_act,
    initialise,
    initialise_classifier,
    scaled,
    separable_conv_norm_act,
)
from medseg.networks.layers.encoder_network import EncoderNetwork
from medseg.networks.layers.patches import rate_warnings
from medseg.networks.layers.upsampling import resize
from medseg.networks.options import Count, Probability


class DeepLabV3Plus(EncoderNetwork):
    """ASPP on the encoder's last map, then a small decoder that adds the encoder's first stage.

    The maps that are concatenated have the stride of the first stage: 4, or 2 where the stem does not stride.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        backbone: the encoder's options. Output strides of 8 and 16 are the paper's.
        separable: depthwise-separable convolutions in ASPP and decoder, as the paper's title has it.
        atrous_rates: of ASPP; None is the paper's for the output stride. They count cells of the last map: on small
            patches take at most 0.4 of its length (``patch_warnings`` tells).
        aspp_channels: of each ASPP branch, of the decoder's first input and its two convolutions; None is the
            paper's 256 times the width.
        low_level_channels: to which the first stage is reduced; None is the paper's 48 times the width.
        dropout: after ASPP.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        backbone: Backbone = Backbone(),  # noqa: B008 - frozen
        separable: bool = True,
        atrous_rates: tuple[Count, ...] | None = None,
        aspp_channels: Count | None = None,
        low_level_channels: Count | None = None,
        dropout: Probability = 0.1,
    ) -> None:
        super().__init__(spatial_dims, in_channels, backbone)
        norm, channels = backbone.norm, aspp_channels or scaled(256, backbone.width)
        low_channels = low_level_channels or scaled(48, backbone.width)
        self.rates = tuple(atrous_rates or RATES[backbone.output_stride])
        self.aspp = ASPP(
            spatial_dims,
            self.encoder.channels[-1],
            channels,
            rates=self.rates,
            separable=separable,
            norm=norm,
            dropout=dropout,
        )
        block = separable_conv_norm_act if separable else conv_norm_act
        self.low_level = conv_norm_act(spatial_dims, self.encoder.channels[1], low_channels, 1, norm=norm)
        self.decoder = nn.Sequential(
            block(spatial_dims, channels + low_channels, channels, 3, norm=norm),
            block(spatial_dims, channels, channels, 3, norm=norm),
        )
        self.classifier = conv(spatial_dims, channels, num_classes, 1)
        initialise(self.aspp, self.low_level, self.decoder)
        initialise_classifier(self.classifier)

    def score(self, maps: list[Tensor]) -> Tensor:
        """Scores at the size of the first stage's map."""
        low_level = apply(self.low_level, maps[1])
        context = resize(self.aspp(maps[-1]), low_level.shape[2:])
        return apply(self.classifier, self.decoder(torch.cat([context, low_level], dim=1)))

    def patch_warnings(self, patch_size: Sequence[int]) -> list[str]:
        """Name the atrous rates that reach beyond the last map of such a patch."""
        return rate_warnings("atrous_rates", self.rates, patch_size, self.encoder.strides[-1])
