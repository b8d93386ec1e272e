"""ResNet 18 to 152 without the classifier: He et al. 2016, arXiv 1512.03385.

As in torchvision, a bottleneck strides in its 3x3 convolution (the original Caffe weights stride in the first 1x1 and
do not fit).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from medseg.networks.blocks import MAX_POOL, Norm, apply, conv, conv_norm_act, initialise, norm_layer, scaled
from medseg.networks.encoders.strides import Stage, StemStride, plan_stages, stem_strides

Stem = Literal["7x7", "c", "s"]
"""First layers: one 7x7 of 64 channels, or three 3x3 of 32-32-64 (`c`) or 64-64-128 (`s`)."""

DEEP_STEMS = {"c": (32, 32, 64), "s": (64, 64, 128)}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-18 and -34)."""

    expansion = 1

    def __init__(self, spatial_dims: int, in_channels: int, planes: int, stage: Stage, *, norm: Norm) -> None:
        super().__init__()
        bias = norm == "none"
        self.conv1 = conv(
            spatial_dims, in_channels, planes, 3, stride=stage.stride, dilation=stage.first_dilation, bias=bias
        )
        self.bn1 = norm_layer(norm, planes, spatial_dims)
        self.conv2 = conv(spatial_dims, planes, planes, 3, dilation=stage.dilation, bias=bias)
        self.bn2 = norm_layer(norm, planes, spatial_dims)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(spatial_dims, in_channels, planes, stage.stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, I, J[, K]) -> (B, planes, ...)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return apply(self.relu, y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 to four times the planes, and a shortcut (ResNet-50 and deeper)."""

    expansion = 4

    def __init__(self, spatial_dims: int, in_channels: int, planes: int, stage: Stage, *, norm: Norm) -> None:
        super().__init__()
        bias, out_channels = norm == "none", planes * self.expansion
        self.conv1 = conv(spatial_dims, in_channels, planes, 1, bias=bias)
        self.bn1 = norm_layer(norm, planes, spatial_dims)
        self.conv2 = conv(
            spatial_dims, planes, planes, 3, stride=stage.stride, dilation=stage.first_dilation, bias=bias
        )
        self.bn2 = norm_layer(norm, planes, spatial_dims)
        self.conv3 = conv(spatial_dims, planes, out_channels, 1, bias=bias)
        self.bn3 = norm_layer(norm, out_channels, spatial_dims)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(spatial_dims, in_channels, out_channels, stage.stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, I, J[, K]) -> (B, 4 * planes, ...)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return apply(self.relu, y + (x if self.downsample is None else self.downsample(x)))


Block = type[BasicBlock] | type[Bottleneck]

BLOCKS: dict[str, tuple[Block, tuple[int, ...]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}
"""Block and number of blocks in each of the four stages."""


class ResNet(nn.Module):
    """Stem, max-pool and four stages of residual blocks; maps after the stem and after each stage.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        depth: a value of BLOCKS.
        output_stride: of the last map; stages beyond it dilate (see ``strides``).
        stem: kind of first layers.
        stem_stride: of the first convolution, 1 or 2, for all axes or each.
        norm: after each convolution.
        width: factor on all channels.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        *,
        depth: tuple[Block, tuple[int, ...]],
        output_stride: int = 32,
        stem: Stem = "7x7",
        stem_stride: StemStride = 2,
        norm: Norm = "batch",
        width: float = 1.0,
    ) -> None:
        super().__init__()
        block, counts = depth
        stem_per_axis = stem_strides(stem_stride, spatial_dims)
        start = 2 * max(stem_per_axis)
        stages = plan_stages((1, 2, 2, 2), start=start, output_stride=output_stride)

        planes = [scaled(c, width) for c in (64, 128, 256, 512)]
        channels = [scaled(64 if stem == "7x7" else DEEP_STEMS[stem][-1], width)]
        self.conv1 = _stem(spatial_dims, in_channels, stem, stem_per_axis, norm, width)
        self.bn1 = norm_layer(norm, channels[0], spatial_dims)
        self.relu = nn.ReLU()
        self.maxpool = MAX_POOL[spatial_dims](3, stride=2, padding=1)
        layers = []
        for stage, base, count in zip(stages, planes, counts, strict=True):
            layers.append(_stage(block, spatial_dims, channels[-1], base, stage, count, norm))
            channels.append(base * block.expansion)
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.channels = tuple(channels)
        totals = (start // 2, *(stage.total for stage in stages))
        self.strides = tuple(tuple(t * s // max(stem_per_axis) for s in stem_per_axis) for t in totals)
        initialise(self)
        if norm == "none":
            _tame(self, "conv3.weight" if block is Bottleneck else "conv2.weight", sum(counts))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps after the stem and after layer1 to layer4."""
        maps = [apply(self.relu, self.bn1(self.conv1(x)))]
        x = self.maxpool(maps[0])
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps


def _stem(
    spatial_dims: int, in_channels: int, stem: Stem, stride: Sequence[int], norm: Norm, width: float
) -> nn.Module:
    bias = norm == "none"
    if stem == "7x7":
        return conv(spatial_dims, in_channels, scaled(64, width), 7, stride=stride, bias=bias)
    first, second, last = (scaled(c, width) for c in DEEP_STEMS[stem])
    return nn.Sequential(  # flat, as timm's keys are
        *conv_norm_act(spatial_dims, in_channels, first, 3, norm=norm, stride=stride),
        *conv_norm_act(spatial_dims, first, second, 3, norm=norm),
        conv(spatial_dims, second, last, 3, bias=bias),
    )


def _stage(
    block: Block, spatial_dims: int, in_channels: int, planes: int, stage: Stage, count: int, norm: Norm
) -> nn.Sequential:
    rest = Stage(1, stage.dilation, stage.dilation, stage.total)
    blocks = [block(spatial_dims, in_channels, planes, stage, norm=norm)]
    blocks += [block(spatial_dims, planes * block.expansion, planes, rest, norm=norm) for _ in range(count - 1)]
    return nn.Sequential(*blocks)


def _tame(encoder: nn.Module, last: str, num_blocks: int) -> None:
    """Shrink the last convolution of every block: without norm each block would double the variance."""
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if name.startswith("layer") and name.endswith(last):
                weight.mul_(num_blocks**-0.5)


def _shortcut(spatial_dims: int, in_channels: int, out_channels: int, stride: int, norm: Norm) -> nn.Module | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        conv(spatial_dims, in_channels, out_channels, 1, stride=stride, bias=norm == "none"),
        norm_layer(norm, out_channels, spatial_dims),
    )
