"""ResNet 18 to 152 without the classifier: He et al. 2016, arXiv 1512.03385.

As in torchvision, a bottleneck strides in its 3x3 convolution (the original Caffe weights stride in the first 1x1 and
do not fit).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import Literal

import torch
from torch import Tensor, nn

from medseg.networks.encoders.strides import Axes, PerAxis, Stage, StemStride, plan_stages, stem_strides, times
from medseg.networks.layers.blocks import MAX_POOL, Norm, apply, conv, conv_norm_act, initialise, norm_layer, scaled

Stem = Literal["7x7", "c", "s"]
"""First layers: one 7x7 of 64 channels, or three 3x3 of 32-32-64 (`c`) or 64-64-128 (`s`)."""

DEEP_STEMS = {"c": (32, 32, 64), "s": (64, 64, 128)}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-18 and -34)."""

    expansion = 1

    def __init__(self, spatial_dims: int, in_channels: int, planes: int, stage: Stage, *, norm: Norm) -> None:
        super().__init__()
        bias = norm == "none"
        self.conv1 = _first(stage, in_channels, planes, bias)
        self.bn1 = norm_layer(norm, planes, spatial_dims)
        self.conv2 = conv(spatial_dims, planes, planes, stage.inner_kernel, dilation=stage.dilation, bias=bias)
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
        self.conv2 = _first(stage, planes, planes, bias)
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
        flat_levels: first levels that leave the last axis alone (see ``strides.Axes``).
        dilate_first_block: dilate the first block of a held-back stage too, as PSPNet's own nets do.
        multi_grid: factors on the dilations of layer4 and its copies (DeepLab v3), one 3x3 convolution after the other.
        cascade: copies of layer4 after it, one more map each (DeepLab v3's block5 to block7). Each would stride by 2;
            the output stride holds that back, so that the dilation doubles from one to the next.
        rates: stage (1 to 4) -> dilations of its 3x3 convolutions, one after the other and over again.
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
        flat_levels: int = 0,
        dilate_first_block: bool = False,
        multi_grid: Sequence[int] = (),
        cascade: int = 0,
        rates: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        block, counts = depth[0], (*depth[1], *depth[1][-1:] * cascade)
        axes = Axes(spatial_dims, flat_levels)
        stem_stride_of = stem_strides(stem_stride, axes)
        level = max(stem_stride_of).bit_length() - 1
        pool_stride = axes.at(level, 2)
        start = times(stem_stride_of, pool_stride)
        stages = plan_stages(
            (1, *(2,) * (3 + cascade)),
            start=start,
            output_stride=output_stride,
            axes=axes,
            dilate_first=dilate_first_block,
        )
        rates = dict(rates or {})
        if multi_grid:
            for number, stage in enumerate(stages[3:], start=4):
                rates[number] = [stage.dilation * factor for factor in multi_grid]

        planes = [scaled(c, width) for c in (64, 128, 256, *(512,) * (1 + cascade))]
        channels = [scaled(64 if stem == "7x7" else DEEP_STEMS[stem][-1], width)]
        self.conv1 = _stem(spatial_dims, in_channels, stem, stem_stride_of, axes, norm, width)
        self.bn1 = norm_layer(norm, channels[0], spatial_dims)
        self.relu = nn.ReLU()
        pool = axes.at(level, 3)
        self.maxpool = MAX_POOL[spatial_dims](pool, stride=pool_stride, padding=tuple(k // 2 for k in pool))
        for number, (stage, base, count) in enumerate(zip(stages, planes, counts, strict=True), start=1):
            geometries = _geometries(stage, count, block, rates.get(number, ()))
            self.add_module(f"layer{number}", _stage(block, spatial_dims, channels[-1], base, geometries, norm))
            channels.append(base * block.expansion)
        self.channels = tuple(channels)
        self.strides = (stem_stride_of, *(stage.total for stage in stages))
        initialise(self)
        if norm == "none":
            _scale_residuals(self, "conv3.weight" if block is Bottleneck else "conv2.weight", sum(counts))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps after the stem and after each layer."""
        return list(self.maps(x))

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        """The same, each when it is asked for."""
        x = self.relu(self.bn1(self.conv1(x)))
        yield x
        x = self.maxpool(x)
        for number in range(1, len(self.channels)):
            x = apply(self.get_submodule(f"layer{number}"), x)
            yield x


def _stem(
    spatial_dims: int, in_channels: int, stem: Stem, stride: PerAxis, axes: Axes, norm: Norm, width: float
) -> nn.Module:
    bias = norm == "none"
    if stem == "7x7":
        return conv(spatial_dims, in_channels, scaled(64, width), axes.at(0, 7), stride=stride, bias=bias)
    first, second, last = (scaled(c, width) for c in DEEP_STEMS[stem])
    inner = axes.at(max(stride).bit_length() - 1, 3)
    return nn.Sequential(  # flat, as timm's keys are
        *conv_norm_act(spatial_dims, in_channels, first, axes.at(0, 3), norm=norm, stride=stride),
        *conv_norm_act(spatial_dims, first, second, inner, norm=norm),
        conv(spatial_dims, second, last, inner, bias=bias),
    )


def _geometries(stage: Stage, count: int, block: Block, rates: Sequence[int]) -> list[Stage]:
    """Geometry of each block of a stage."""
    plain = [stage, *(stage.rest for _ in range(count - 1))]
    if not rates:
        return plain
    rate = cycle(rates)
    if block is BasicBlock:  # both of its convolutions are 3x3: the rates run over convolutions, not blocks
        return [geometry.at_rates(next(rate), next(rate)) for geometry in plain]
    return [geometry.at_rates(r, r) for geometry, r in zip(plain, rate, strict=False)]


def _stage(
    block: Block, spatial_dims: int, in_channels: int, planes: int, geometries: Sequence[Stage], norm: Norm
) -> nn.Sequential:
    blocks = []
    for geometry in geometries:
        blocks.append(block(spatial_dims, in_channels, planes, geometry, norm=norm))
        in_channels = planes * block.expansion
    return nn.Sequential(*blocks)


def _scale_residuals(encoder: nn.Module, last: str, num_blocks: int) -> None:
    """Shrink the last convolution of every block: without norm each block would double the variance."""
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if name.startswith("layer") and name.endswith(last):
                weight.mul_(num_blocks**-0.5)


def _first(stage: Stage, in_channels: int, planes: int, bias: bool) -> nn.Module:
    """The convolution of a block that may stride."""
    return conv(
        len(stage.kernel),
        in_channels,
        planes,
        stage.kernel,
        stride=stage.stride,
        dilation=stage.first_dilation,
        bias=bias,
    )


def _shortcut(spatial_dims: int, in_channels: int, out_channels: int, stride: PerAxis, norm: Norm) -> nn.Module | None:
    if max(stride) == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        conv(spatial_dims, in_channels, out_channels, 1, stride=stride, bias=norm == "none"),
        norm_layer(norm, out_channels, spatial_dims),
    )
