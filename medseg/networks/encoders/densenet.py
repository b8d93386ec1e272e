"""DenseNet 121 to 201 without the classifier: Huang et al. 2017, arXiv 1608.06993."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.networks.encoders.strides import Axes, PerAxis, StemStride, plan_stages, stem_strides, times
from medseg.networks.layers.blocks import MAX_POOL, Norm, apply, conv, initialise, norm_layer, scaled

AVERAGE: dict[int, Callable[..., Tensor]] = {2: F.avg_pool2d, 3: F.avg_pool3d}

BOTTLENECK = 4
"""Channels between the two convolutions of a layer, in units of the growth."""


class Depth(NamedTuple):
    """One of the four networks.

    Attributes:
        growth: channels that each layer adds.
        stem: channels of the first convolution.
        layers: of each dense block.
    """

    growth: int
    stem: int
    layers: tuple[int, int, int, int]


DEPTHS: dict[str, Depth] = {
    "densenet121": Depth(32, 64, (6, 12, 24, 16)),
    "densenet161": Depth(48, 96, (6, 12, 36, 24)),
    "densenet169": Depth(32, 64, (6, 12, 32, 32)),
    "densenet201": Depth(32, 64, (6, 12, 48, 32)),
}


class DenseBlock(nn.Sequential):
    """Layers of two convolutions; each takes all that is there and appends what it finds.

    Args:
        layers: how many.
        in_channels: of the map.
        growth: channels that each layer appends.
        kernel: of the second convolution, one number an axis.
        dilation: of the second convolution.
        norm: before each convolution.
    """

    def __init__(
        self, layers: int, in_channels: int, growth: int, kernel: PerAxis, dilation: int, *, norm: Norm
    ) -> None:
        super().__init__()
        for index in range(layers):
            channels = in_channels + index * growth
            self.add_module(f"denselayer{index + 1}", _layer(channels, growth, kernel, dilation, norm))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, I, J[, K]) -> (B, in + layers * growth, I, J[, K])."""
        for layer in self:
            x = torch.cat([x, layer(x)], dim=1)
        return x


class AveragePool(nn.Module):
    """The mean of each ``step`` of voxels; at the far end of those that are there, so that any size has a map."""

    def __init__(self, step: PerAxis) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, I, J[, K]) -> (B, C, ceil(I / step), ...)."""
        # torch refuses a 3D window that is longer than the map
        window = [min(step, size) for step, size in zip(self.step, x.shape[2:], strict=True)]
        return AVERAGE[len(window)](x, window, ceil_mode=True)


class Transition(nn.Module):
    """Norm, ReLU, a 1x1 convolution to half the channels, and the mean of 2x2 voxels where it strides."""

    def __init__(self, channels: int, step: PerAxis, *, norm: Norm) -> None:
        super().__init__()
        dims = len(step)
        self.norm = norm_layer(norm, channels, dims)
        self.relu = nn.ReLU()
        self.conv = conv(dims, channels, channels // 2, 1, bias=norm == "none")
        self.pool = AveragePool(step) if max(step) > 1 else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, in, I, J[, K]) -> what the convolution takes, and (B, in / 2, ...)."""
        y = apply(self.relu, self.norm(x))
        return y, apply(self.pool, self.conv(y))


class DenseNet(nn.Module):
    """Stem, max-pool and four dense blocks with transitions between; maps after the stem and each block, after ReLU.

    A transition beyond the output stride keeps its convolution, loses its pool, and the blocks after it dilate, as in
    DenseASPP. Unlike the stride of a convolution, a mean cannot be taken away without a trace: the dilated map is that
    of a net whose transition picks every second voxel, so ImageNet weights see it sharper than they were trained for.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        depth: a value of DEPTHS.
        output_stride: of the last map; blocks beyond it dilate (see ``strides``).
        stem_stride: of the first convolution, 1 or 2, for all axes or each.
        norm: before each convolution but the first.
        width: factor on the channels of the stem and on the growth, which becomes a multiple of 4.
        flat_levels: first levels that leave the last axis alone (see ``strides.Axes``).
        last_transition: halve the channels once more before the last norm, as DenseASPP does.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        *,
        depth: Depth,
        output_stride: int = 32,
        stem_stride: StemStride = 2,
        norm: Norm = "batch",
        width: float = 1.0,
        flat_levels: int = 0,
        last_transition: bool = False,
    ) -> None:
        super().__init__()
        axes = Axes(spatial_dims, flat_levels)
        first = stem_strides(stem_stride, axes)
        level = max(first).bit_length() - 1
        pool, pool_stride = axes.at(level, 3), axes.at(level, 2)
        start = times(first, pool_stride)
        stages = plan_stages((1, 2, 2, 2), start=start, output_stride=output_stride, axes=axes)

        growth, channels = _growth(depth.growth, width), scaled(depth.stem, width)
        self.features = nn.Sequential(
            OrderedDict(
                conv0=conv(spatial_dims, in_channels, channels, axes.at(0, 7), stride=first, bias=norm == "none"),
                norm0=norm_layer(norm, channels, spatial_dims),
                relu0=nn.ReLU(),
                pool0=MAX_POOL[spatial_dims](pool, stride=pool_stride, padding=tuple(k // 2 for k in pool)),
            )
        )
        widths = [channels]
        steps = [stage.stride for stage in stages[1:]] + [(1,) * spatial_dims] * last_transition
        for number, (stage, layers) in enumerate(zip(stages, depth.layers, strict=True), start=1):
            block = DenseBlock(layers, channels, growth, stage.inner_kernel, stage.dilation, norm=norm)
            self.features.add_module(f"denseblock{number}", block)
            channels += layers * growth
            widths.append(channels)
            if number <= len(steps):
                self.features.add_module(f"transition{number}", Transition(channels, steps[number - 1], norm=norm))
                channels //= 2
        self.features.add_module("norm5", norm_layer(norm, channels, spatial_dims))
        self.channels = (*widths[:-1], channels if last_transition else widths[-1])
        self.strides = (first, *(stage.total for stage in stages))
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps after the stem and after each block, all after norm and ReLU."""
        return list(self.maps(x))

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        """The same, each when it is asked for."""
        ends = 0
        for layer in self.features:
            ended, x = layer(x) if isinstance(layer, Transition) else (layer(x),) * 2
            if isinstance(layer, nn.ReLU | Transition) and ends < 4:
                ends += 1
                yield ended
        yield torch.relu(x)


def _layer(in_channels: int, growth: int, kernel: PerAxis, dilation: int, norm: Norm) -> nn.Sequential:
    dims, hidden, bias = len(kernel), BOTTLENECK * growth, norm == "none"
    return nn.Sequential(
        OrderedDict(
            norm1=norm_layer(norm, in_channels, dims),
            relu1=nn.ReLU(),
            conv1=conv(dims, in_channels, hidden, 1, bias=bias),
            norm2=norm_layer(norm, hidden, dims),
            relu2=nn.ReLU(),
            conv2=conv(dims, hidden, growth, kernel, dilation=dilation, bias=bias),
        )
    )


def _growth(growth: int, width: float) -> int:
    """The nearest multiple of 4, at least 4: narrow nets keep halves and norm groups whole."""
    return growth if width == 1 else max(4, int(growth * width / 4 + 0.5) * 4)
