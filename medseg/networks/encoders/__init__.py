"""The encoders: each once, for every architecture that stands on it.

An encoder maps an image (B, C, I, J[, K]) to five feature maps, fine to coarse. Map m has the stride 2 ** (m + 1) of
its paper, unless the output stride holds the last ones back or the stem does not stride. Its weights are initialised.

    channels     of each map
    strides      of each map, one number an axis

State-dict keys are torchvision's (conv1, layer1.0.conv1, features.0 ...), so that ImageNet weights can be loaded;
torchvision has no ResNet-38, and no Xception, whose keys are timm's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, cast

from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.encoder_names import EncoderName
from medseg.networks.encoders.densenet import DEPTHS, DenseNet
from medseg.networks.encoders.mobilenetv2 import MobileNetV2
from medseg.networks.encoders.resnet import BLOCKS, ResNet, Stem
from medseg.networks.encoders.resnet38 import WideResNet38
from medseg.networks.encoders.strides import StemStride
from medseg.networks.encoders.vgg import VGG16
from medseg.networks.encoders.xception import FLOWS, Xception
from medseg.networks.layers.blocks import Norm
from medseg.networks.options import FlatLevels, Width

_ENCODERS: Mapping[str, Callable[..., nn.Module]] = {
    "vgg16": VGG16,
    **{name: partial(ResNet, depth=depth) for name, depth in BLOCKS.items()},
    "resnet38": WideResNet38,
    "mobilenet_v2": MobileNetV2,
    **{name: partial(Xception, flow=flow) for name, flow in FLOWS.items()},
    **{name: partial(DenseNet, depth=depth) for name, depth in DEPTHS.items()},
}


class Encoder(Protocol):
    """What an architecture knows of its encoder."""

    channels: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Feature maps, fine to coarse."""

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        """The same, each computed when it is asked for."""


@dataclass(frozen=True)
class Backbone:
    """The options that all architectures with a choice of encoder share; each has its own defaults.

    Attributes:
        encoder: which one.
        output_stride: stride of the last map along the axis that strides most; stages beyond it dilate.
        stem: a ResNet's first layers, `7x7`, `c` (3x3 32-32-64) or `s` (3x3 64-64-128); None is `7x7`.
        stem_stride: of the first convolution. 1 halves every stride, so that patches of 64 voxels keep maps of some
            size. One number an axis is possible: [2, 2, 1].
        flat_levels: first levels of resolution (full, half, quarter ...) whose kernels and strides leave the last axis
            alone: 1 or 2 where slices lie two or four times as far apart as their voxels (3D only).
        dilate_first_block: a ResNet's stage that dilates instead of striding does so in its first block too. The
            half-step of the default keeps the function that ImageNet weights were trained for; PSPNet's nets do not.
        norm: after every convolution but the last.
        width: factor on the channels; 1 is the paper's.
    """

    encoder: EncoderName = "resnet50"
    output_stride: Literal[4, 8, 16, 32] = 16
    stem: Stem | None = None
    stem_stride: StemStride = 2
    flat_levels: FlatLevels = 0
    dilate_first_block: bool = False
    norm: Norm = "batch"
    width: Width = 1.0

    def build(self, spatial_dims: int, in_channels: int, **more: Any) -> Encoder:
        """Build the encoder.

        Args:
            spatial_dims: 2 or 3.
            in_channels: of the image.
            more: for a ResNet only: ``multi_grid``, ``cascade`` and ``rates``; for a DenseNet: ``last_transition``.

        Raises:
            ConfigError: an option of ResNets for another encoder, or an output stride that cannot be reached.
        """
        for_resnets = {"stem": self.stem, "dilate_first_block": self.dilate_first_block, **more}
        given = {key: value for key, value in for_resnets.items() if value}
        if given.keys() - {"last_transition"} and self.encoder not in BLOCKS:
            key, value = next(iter(given.items()))
            raise ConfigError(
                f"network.{key}: only ResNet-18 to -152 have it, found {value!r}; switch it off or take one"
            )
        encoder = _ENCODERS[self.encoder](
            spatial_dims,
            in_channels,
            output_stride=self.output_stride,
            stem_stride=self.stem_stride,
            flat_levels=self.flat_levels,
            norm=self.norm,
            width=self.width,
            **given,
        )
        return cast(Encoder, encoder)
