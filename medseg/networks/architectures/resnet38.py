"""ResNet-38 as a segmentation network: Wu, Shen and van den Hengel 2016, arXiv 1611.10080 (model A1, 2 conv)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from medseg.networks.encoders.resnet38 import DROPOUTS, WideResNet38
from medseg.networks.encoders.strides import StemStride
from medseg.networks.layers.blocks import Norm, apply, conv, conv_norm_act, initialise, initialise_classifier, scaled
from medseg.networks.layers.patches import rate_warnings
from medseg.networks.layers.sizes import pad_small
from medseg.networks.options import Count, FlatLevels, Probability, Width
from medseg.networks.outputs import Output, to_size

REACH = 96
"""Of the head's dilated convolutions, in voxels: the paper's rate 12 at stride 8."""


class ResNet38(nn.Module):
    """The wide, dilated ResNet-38 and two 3x3 convolutions on its last map, 512 channels and then the classes.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        output_stride: of the last map; 8 is the paper's.
        stem_stride: of the first strided convolution. 1 halves every stride, so that patches of 64 voxels keep maps of
            some size. One number an axis is possible: [2, 2, 1].
        atrous_rate: of both convolutions of the head, in cells of the last map; None is the paper's 12 at stride 8, and
            the same reach elsewhere. On small patches take at most 0.4 of the map's length (``patch_warnings`` tells).
        dropout: before the last convolution of the last block; the block before has 0.6 times as much. 0.5 is the
            paper's (0.3 there).
        norm: before or after every convolution but the last.
        width: factor on all channels; 0.25 to 0.5 suits 3D, where the paper's has 323 million weights.
        flat_levels: first levels of resolution that leave the last axis alone, for thick slices (3D only).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        output_stride: Literal[4, 8, 16, 32] = 8,
        stem_stride: StemStride = 2,
        atrous_rate: Count | None = None,
        dropout: Probability = DROPOUTS[-1],
        norm: Norm = "batch",
        width: Width = 1.0,
        flat_levels: FlatLevels = 0,
    ) -> None:
        super().__init__()
        early, late = DROPOUTS
        self.encoder = WideResNet38(
            spatial_dims,
            in_channels,
            output_stride=output_stride,
            stem_stride=stem_stride,
            norm=norm,
            width=width,
            flat_levels=flat_levels,
            dropouts=(dropout * early / late, dropout),
        )
        self.minimum = tuple(stride + 1 for stride in self.encoder.strides[-1])
        self.rate = atrous_rate or REACH // output_stride
        channels = scaled(512, width)
        self.hidden = conv_norm_act(spatial_dims, self.encoder.channels[-1], channels, 3, norm=norm, dilation=self.rate)
        self.classifier = conv(spatial_dims, channels, num_classes, 3, dilation=self.rate)
        initialise(self.hidden)
        initialise_classifier(self.classifier)

    def forward(self, x: Tensor) -> Output:
        """(B, C, I, J[, K]) -> logits (B, num_classes, I, J[, K])."""
        padded = pad_small(x, self.minimum)
        scores = apply(self.classifier, self.hidden(self.encoder(padded)[-1]))
        return to_size(scores, padded.shape[2:], x.shape[2:])

    def patch_warnings(self, patch_size: Sequence[int]) -> list[str]:
        """Name the head's rate where it reaches beyond the last map of such a patch."""
        return rate_warnings("atrous_rate", [self.rate], patch_size, self.encoder.strides[-1])
