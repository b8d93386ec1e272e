"""ResNet-38, wider and shallower than its peers: Wu, Shen and van den Hengel 2016, arXiv 1611.10080 (model A1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from medseg.networks.encoders.strides import Axes, PerAxis, Stage, StemStride, plan_stages, stem_strides
from medseg.networks.layers.blocks import Norm, apply, conv, conv_norm_act, initialise, norm_layer, scaled

LEVELS = (
    ((128, 128), 3, 1),
    ((256, 256), 3, 2),
    ((512, 512), 6, 2),
    ((512, 1024), 3, 2),
    ((512, 1024, 2048), 1, 2),
    ((1024, 2048, 4096), 1, 1),
)
"""Channels of a block's convolutions, blocks and stride of the levels 2 to 7; level 2 has the stem's stride."""

TAPPED_LEVELS = (0, 1, 2, 3, 5)
"""Levels that end a stride: their outputs are the feature maps."""

DROPOUTS = (0.3, 0.5)
"""Before the last convolution of the levels 6 and 7."""

_Layout = tuple[int | PerAxis, int | PerAxis, int]
"""Kernel, stride and dilation of a convolution."""


class WideBlock(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1, with norm and ReLU before each, and a shortcut around them.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the map.
        channels: of each convolution, two or three.
        stage: geometry. Three convolutions stride in the first 1x1, so their 3x3 has the dilation after the stride.
        norm: before each convolution; `none` gives them biases.
        dropout: before the last.
        opens: the block opens a level: its input was normalised and rectified at the end of the level before, and its
            shortcut is a 1x1 convolution of that. Other shortcuts are the input as it is.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: Sequence[int],
        stage: Stage,
        *,
        norm: Norm,
        dropout: float,
        opens: bool,
    ) -> None:
        super().__init__()
        bias = norm == "none"
        spread = (stage.inner_kernel, 1, stage.dilation)
        layout: list[_Layout] = [(stage.kernel, stage.stride, stage.first_dilation), spread]
        if len(channels) == 3:
            layout = [(1, stage.stride, 1), spread, (1, 1, 1)]
        self.shortcut: nn.Module = nn.Identity()
        if opens:
            self.shortcut = conv(spatial_dims, in_channels, channels[-1], 1, stride=stage.stride, bias=bias)
        self.convs = nn.Sequential()
        for number, (out_channels, (kernel, stride, dilation)) in enumerate(zip(channels, layout, strict=True)):
            if number or not opens:
                self.convs.extend([norm_layer(norm, in_channels, spatial_dims), nn.ReLU()])
            if number == len(channels) - 1:
                self.convs.append(nn.Dropout(dropout))
            self.convs.append(
                conv(spatial_dims, in_channels, out_channels, kernel, stride=stride, dilation=dilation, bias=bias)
            )
            in_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, I, J[, K]) -> (B, channels[-1], ...)."""
        return apply(self.convs, x) + apply(self.shortcut, x)


class WideResNet38(nn.Module):
    """A 3x3 convolution and six levels of pre-activation blocks, without any max-pool; maps where a stride ends.

    A level ends with norm and ReLU. In the paper these open the next level's first block, which sees nothing else of
    the level before, so the maps that an architecture gets are normalised and rectified as those of other encoders.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        output_stride: of the last map; levels beyond it dilate (see ``strides``). The paper's is 8.
        stem_stride: of level 2, the first that strides, 1 or 2, for all axes or each.
        norm: before each convolution but the first.
        width: factor on all channels.
        flat_levels: first levels of resolution that leave the last axis alone (see ``strides.Axes``).
        dropouts: in the levels 6 and 7.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        *,
        output_stride: int = 8,
        stem_stride: StemStride = 2,
        norm: Norm = "batch",
        width: float = 1.0,
        flat_levels: int = 0,
        dropouts: tuple[float, float] = DROPOUTS,
    ) -> None:
        super().__init__()
        axes = Axes(spatial_dims, flat_levels)
        start = stem_strides(stem_stride, axes)
        stages = plan_stages([s for *_, s in LEVELS], start=start, output_stride=output_stride, axes=axes)
        stages[0] = replace(stages[0], stride=start, kernel=axes.at(0, 3))  # strides from the full resolution

        channels = scaled(64, width)
        self.stem = conv_norm_act(spatial_dims, in_channels, channels, axes.at(0, 3), norm=norm)
        self.levels = nn.ModuleList()
        ends = []
        for stage, (base, count, _), dropout in zip(stages, LEVELS, (0.0,) * 4 + dropouts, strict=True):
            widths = [scaled(c, width) for c in base]
            level = nn.Sequential()
            for number in range(count):
                geometry = stage.rest if number else stage
                level.append(
                    WideBlock(spatial_dims, channels, widths, geometry, norm=norm, dropout=dropout, opens=number == 0)
                )
                channels = widths[-1]
            level.extend([norm_layer(norm, channels, spatial_dims), nn.ReLU()])
            self.levels.append(level)
            ends.append(channels)

        self.channels = tuple(ends[n] for n in TAPPED_LEVELS)
        self.strides = tuple(stages[n].total for n in TAPPED_LEVELS)
        initialise(self)
        if norm == "none":
            self._scale_residuals()

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps at the end of each stride."""
        return list(self.maps(x))

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        """The same, each when it is asked for."""
        x = self.stem(x)
        for number, level in enumerate(self.levels):
            x = level(x)
            if number in TAPPED_LEVELS:
                yield x

    def _scale_residuals(self) -> None:
        """Shrink the last convolution of every block: without norm each block would double the variance."""
        blocks = [block for block in self.modules() if isinstance(block, WideBlock)]
        with torch.no_grad():
            for block in blocks:
                last = block.convs[-1].weight
                assert isinstance(last, Tensor)
                last.mul_(len(blocks) ** -0.5)
