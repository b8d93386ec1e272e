"""DeepLab v2 (ASPP): Chen, Papandreou, Kokkinos, Murphy and Yuille 2017, arXiv 1606.00915."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.networks.encoders import Backbone
from medseg.networks.layers.blocks import conv, initialise_classifier, scaled
from medseg.networks.layers.encoder_network import EncoderNetwork
from medseg.networks.layers.largefov import FieldOfView
from medseg.networks.layers.patches import rate_warnings
from medseg.networks.options import Count, Probability

REACHES = {2: (48, 96, 144, 192), 3: (24, 48, 72, 96)}
"""Of the branches, in voxels: the paper's rates 6, 12, 18, 24 at stride 8 (ASPP-L), and half of them in volumes."""


class DeepLabV2(EncoderNetwork):
    """Branches that look at the encoder's last map at several rates; their scores are added.

    On VGG16 a branch is LargeFOV's fc6-fc7-fc8, on any other encoder a single 3x3 convolution to the classes: there is
    no norm, no ReLU and no projection after it, which came with v3.

    The paper's VGG16 has no norm (``norm: none``), and its ResNets keep the batch statistics of ImageNet. Neither its
    fusion of three input scales by their maximum nor its conditional random field is part of the network.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        backbone: the encoder's options. The paper has VGG16 and ResNet-101, at an output stride of 8.
        atrous_rates: of the branches, in cells of the last map; None is 6, 12, 18, 24 in 2D (the paper's ASPP-L) and
            3, 6, 9, 12 in 3D at stride 8, and the same reach elsewhere. The paper's ASPP-S is 2, 4, 8, 12. On small
            patches take at most 0.4 of the map's length (``patch_warnings`` tells).
        dropout: after fc6 and fc7, on other encoders than VGG16 before the branches; None is the paper's 0.5 there and
            nothing here.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        backbone: Backbone = Backbone(output_stride=8),  # noqa: B008 - frozen
        atrous_rates: tuple[Count, ...] | None = None,
        dropout: Probability | None = None,
    ) -> None:
        super().__init__(spatial_dims, in_channels, backbone)
        self.rates = tuple(atrous_rates or (max(1, r // backbone.output_stride) for r in REACHES[spatial_dims]))
        channels = self.encoder.channels[-1]
        on_vgg = backbone.encoder == "vgg16"
        dropout = (0.5 if on_vgg else 0.0) if dropout is None else dropout
        self.dropout = nn.Dropout(0.0 if on_vgg else dropout)
        self.branches = nn.ModuleList()
        for rate in self.rates:
            if on_vgg:
                width = scaled(1024, backbone.width)
                branch: nn.Module = FieldOfView(
                    spatial_dims, channels, num_classes, channels=width, rate=rate, dropout=dropout
                )
            else:
                branch = conv(spatial_dims, channels, num_classes, 3, dilation=rate)
                initialise_classifier(branch)
            self.branches.append(branch)

    def score(self, maps: list[Tensor]) -> Tensor:
        """Scores at the size of the last map."""
        last = self.dropout(maps[-1])
        return torch.stack([branch(last) for branch in self.branches]).sum(dim=0)

    def patch_warnings(self, patch_size: Sequence[int]) -> list[str]:
        """Name the atrous rates that reach beyond the last map of such a patch."""
        return rate_warnings("atrous_rates", self.rates, patch_size, self.encoder.strides[-1])
