"""VGG16's fully connected layers as convolutions with holes: the head of DeepLab v1 and its heirs, and its options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from medseg.networks.encoders import Backbone
from medseg.networks.encoders.strides import StemStride
from medseg.networks.layers.blocks import Norm, apply, conv, conv_norm_act, initialise, initialise_classifier, scaled
from medseg.networks.layers.patches import rate_warnings
from medseg.networks.options import Count, FlatLevels, Probability, Width

REACH = {2: 96, 3: 32}
"""Of fc6, in voxels: the paper's rate 12 at stride 8 for crops of 321 pixels, and a third of it in volumes."""


class FieldOfView(nn.Module):
    """fc6, fc7 and fc8: a 3x3 convolution whose rate decides how far it looks, a 1x1, and a 1x1 that scores.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the map.
        num_classes: of the scores.
        channels: of fc6 and fc7.
        rate: of fc6, in cells of the map.
        dropout: after fc6 and fc7.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, num_classes: int, *, channels: int, rate: int, dropout: float
    ) -> None:
        super().__init__()
        self.channels = channels
        self.fc6 = conv_norm_act(spatial_dims, in_channels, channels, 3, norm="none", dilation=rate)
        self.fc7 = conv_norm_act(spatial_dims, channels, channels, 1, norm="none")
        self.fc8 = conv(spatial_dims, channels, num_classes, 1)
        self.dropout = nn.Dropout(dropout)
        initialise(self.fc6, self.fc7)
        initialise_classifier(self.fc8)

    def features(self, x: Tensor) -> Tensor:
        """(B, in, I, J[, K]) -> fc7, (B, channels, I, J[, K]): what fc8 scores."""
        return apply(self.dropout, self.fc7(self.dropout(self.fc6(x))))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, I, J[, K]) -> scores (B, num_classes, I, J[, K])."""
        return apply(self.fc8, self.features(x))


@dataclass(frozen=True)
class LargeFOVOptions:
    """The options of the networks that stand on LargeFOV.

    Attributes:
        atrous_rate: of fc6, in cells of the last map; None is the paper's 12 in 2D and 4 in 3D at stride 8, and the
            same reach elsewhere. On small patches take at most 0.4 of the map's length (``patch_warnings`` tells).
        fc_width: channels of fc6 and fc7; None is the paper's 1024 times the width.
        dropout: after fc6 and fc7.
        output_stride: of the last map; 8 is the paper's.
        stem_stride: of the first max-pool; 1 halves every stride. One number an axis is possible: [2, 2, 1].
        flat_levels: first levels of resolution that leave the last axis alone, for thick slices (3D only).
        norm: in the encoder; the paper has none.
        width: factor on all channels.
    """

    atrous_rate: Count | None = None
    fc_width: Count | None = None
    dropout: Probability = 0.5
    output_stride: Literal[4, 8, 16, 32] = 8
    stem_stride: StemStride = 2
    flat_levels: FlatLevels = 0
    norm: Norm = "none"
    width: Width = 1.0

    @property
    def backbone(self) -> Backbone:
        """VGG16 in DeepLab's form."""
        return Backbone(
            "vgg16",
            self.output_stride,
            stem_stride=self.stem_stride,
            flat_levels=self.flat_levels,
            norm=self.norm,
            width=self.width,
        )


class LargeFOV(FieldOfView):
    """The head of DeepLab v1: a 3x3 average pool of stride 1 (pool5a), then fc6 at a large rate.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the encoder's last map.
        num_classes: of the scores.
        options: of the network.
    """

    def __init__(self, spatial_dims: int, in_channels: int, num_classes: int, options: LargeFOVOptions) -> None:
        self.rate = options.atrous_rate or REACH[spatial_dims] // options.output_stride
        channels = options.fc_width or scaled(1024, options.width)
        super().__init__(
            spatial_dims, in_channels, num_classes, channels=channels, rate=self.rate, dropout=options.dropout
        )
        self.pool5a = {2: nn.AvgPool2d, 3: nn.AvgPool3d}[spatial_dims](3, stride=1)

    def features(self, x: Tensor) -> Tensor:
        """(B, in, I, J[, K]) -> fc7, (B, channels, I, J[, K])."""
        # Zeros beyond the border count, as in Caffe; padded here, because AvgPool3d refuses maps smaller than itself.
        return super().features(self.pool5a(F.pad(x, [1] * (2 * x.ndim - 4))))

    def patch_warnings(self, patch_size: Sequence[int], strides: Sequence[int]) -> list[str]:
        """Name the rate where it reaches beyond a map of these strides."""
        return rate_warnings("atrous_rate", [self.rate], patch_size, strides)
