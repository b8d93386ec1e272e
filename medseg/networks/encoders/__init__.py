"""The encoders: each once, for every architecture that stands on it.

An encoder maps an image (B, C, I, J[, K]) to five feature maps, fine to coarse. Map m has the stride 2 ** (m + 1) of
its paper, unless the output stride holds the last ones back or the stem does not stride. Its weights are initialised.

    channels     of each map
    strides      of each map, one number an axis

State-dict keys are torchvision's (conv1, layer1.0.conv1, features.0 ...), so that ImageNet weights can be loaded.
"""

from __future__ import annotations

from typing import Literal, Protocol, cast

from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.blocks import Norm
from medseg.networks.encoders.mobilenetv2 import MobileNetV2
from medseg.networks.encoders.resnet import BLOCKS, ResNet, Stem
from medseg.networks.encoders.strides import StemStride

AtrousEncoder = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "mobilenet_v2"]
"""Encoders whose output stride can be chosen."""


class Encoder(Protocol):
    """What an architecture knows of its encoder."""

    channels: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Feature maps, fine to coarse."""


def atrous_encoder(
    name: AtrousEncoder,
    spatial_dims: int,
    in_channels: int,
    *,
    output_stride: int,
    stem: Stem | None = None,
    stem_stride: StemStride = 2,
    norm: Norm = "batch",
    width: float = 1.0,
) -> Encoder:
    """Build an encoder whose last stages dilate instead of striding beyond ``output_stride``.

    Args:
        name: which one.
        spatial_dims: 2 or 3.
        in_channels: of the image.
        output_stride: stride of the last map along the axis that strides most.
        stem: a ResNet's first layers; None is `7x7`.
        stem_stride: of the first convolution; 1 (for all axes or for one) halves every stride.
        norm: after each convolution.
        width: factor on all channels.

    Raises:
        ConfigError: a stem for an encoder that has no choice of it, or an output stride that cannot be reached.
    """
    encoder: nn.Module
    if name == "mobilenet_v2":
        if stem is not None:
            raise ConfigError(
                f"network.stem: only ResNet encoders have a choice of stem; remove {stem!r} or change the encoder"
            )
        encoder = MobileNetV2(
            spatial_dims, in_channels, output_stride=output_stride, stem_stride=stem_stride, norm=norm, width=width
        )
    else:
        encoder = ResNet(
            spatial_dims,
            in_channels,
            depth=BLOCKS[name],
            output_stride=output_stride,
            stem=stem or "7x7",
            stem_stride=stem_stride,
            norm=norm,
            width=width,
        )
    return cast(Encoder, encoder)
