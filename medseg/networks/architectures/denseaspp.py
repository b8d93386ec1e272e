"""DenseASPP: Yang, Yu, Zhang, Li and Yang 2018, "DenseASPP for Semantic Segmentation in Street Scenes" (CVPR)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.networks.encoders import Backbone
from medseg.networks.encoders.densenet import DEPTHS
from medseg.networks.layers.blocks import (
    Layer,
    Norm,
    apply,
    conv,
    initialise,
    initialise_classifier,
    norm_layer,
    scaled,
)
from medseg.networks.layers.encoder_network import EncoderNetwork
from medseg.networks.layers.patches import rate_warnings
from medseg.networks.options import Count, Probability

DROPOUT: dict[int, Layer] = {2: nn.Dropout2d, 3: nn.Dropout3d}

CHANNELS: dict[str, tuple[int, int]] = {"densenet161": (512, 128), "densenet169": (336, 168), "densenet201": (480, 240)}
"""Of the 1x1 and the 3x3 convolution of each atrous layer."""

OTHERS = (128, 64)
"""The same on DenseNet-121 and MobileNetV2, and here on any other encoder."""


class DenseASPP(EncoderNetwork):
    """Atrous layers of growing rate, each of which sees the encoder's last map and all layers before it.

    A DenseNet ends in a transition to half its channels. The head's norms keep torch's momentum: the release's 3e-4
    leaves the running statistics of a short training near their start.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        backbone: the encoder's options. The paper has DenseNet-121, -161, -169 or -201 at an output stride of 8.
        atrous_rates: of the layers, in cells of the last map; as many layers as rates. They add up: 3 to 24 reach 63
            cells each way, of which they see every third, their common divisor. A 1 among them closes the gaps.
        bottleneck_channels: of each layer's 1x1 convolution; None is the paper's for the encoder, times the width.
        growth: channels that each layer adds; None is the paper's for the encoder, times the width.
        dropout: of whole channels, after each atrous layer and before the classifier.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        backbone: Backbone = Backbone("densenet121", 8),  # noqa: B008 - frozen
        atrous_rates: tuple[Count, ...] = (3, 6, 12, 18, 24),
        bottleneck_channels: Count | None = None,
        growth: Count | None = None,
        dropout: Probability = 0.1,
    ) -> None:
        dense = {"last_transition": True} if backbone.encoder in DEPTHS else {}
        super().__init__(spatial_dims, in_channels, backbone, **dense)
        hidden, added = (scaled(c, backbone.width) for c in CHANNELS.get(backbone.encoder, OTHERS))
        hidden, added = bottleneck_channels or hidden, growth or added
        channels = self.encoder.channels[-1]
        self.rates = atrous_rates
        self.atrous = nn.ModuleList()
        for number, rate in enumerate(atrous_rates):
            before = backbone.norm if number else "none"  # a DenseNet ends in a norm
            self.atrous.append(_layer(spatial_dims, channels, hidden, added, rate, dropout, before, backbone.norm))
            channels += added
        self.dropout = DROPOUT[spatial_dims](dropout)
        self.classifier = conv(spatial_dims, channels, num_classes, 1)
        initialise(self.atrous)
        initialise_classifier(self.classifier)

    def score(self, maps: list[Tensor]) -> Tensor:
        """Scores at the size of the last map."""
        x = maps[-1]
        for layer in self.atrous:
            x = torch.cat([layer(x), x], dim=1)  # new channels first, as in the released weights
        return apply(self.classifier, self.dropout(x))

    def patch_warnings(self, patch_size: Sequence[int]) -> list[str]:
        """Name the atrous rates that reach beyond the last map of such a patch."""
        return rate_warnings("atrous_rates", self.rates, patch_size, self.encoder.strides[-1])


def _layer(
    dims: int, in_channels: int, hidden: int, growth: int, rate: int, dropout: float, before: Norm, between: Norm
) -> nn.Sequential:
    return nn.Sequential(
        norm_layer(before, in_channels, dims),
        nn.ReLU(),
        conv(dims, in_channels, hidden, 1),
        norm_layer(between, hidden, dims),
        nn.ReLU(),
        conv(dims, hidden, growth, 3, dilation=rate),
        DROPOUT[dims](dropout),
    )
