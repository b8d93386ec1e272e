"""Aligned Xception 41, 65 and 71 without the classifier: Chen et al. 2018, arXiv 1802.02611.

Xception (Chollet 2017, arXiv 1610.02357) with a longer entry flow, strided separable convolutions instead of max-pools,
and a norm after every depthwise convolution. The keys are timm's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.encoders.strides import Axes, PerAxis, Stage, StemStride, plan_stages, stem_strides
from medseg.networks.layers.blocks import Norm, apply, conv, conv_norm_act, initialise, norm_layer, scaled

Flow = tuple[tuple[tuple[int, int, int], int], ...]
"""Output channels of the three separable convolutions of each block, and the block's stride."""

SHORT: Flow = (((128,) * 3, 2), ((256,) * 3, 2), ((728,) * 3, 2))
LONG: Flow = (((128,) * 3, 2), ((256,) * 3, 1), ((256,) * 3, 2), ((728,) * 3, 1), ((728,) * 3, 2))
MIDDLE: Flow = (((728,) * 3, 1),)
EXIT: Flow = (((728, 1024, 1024), 2), ((1536, 1536, 2048), 1))

FLOWS: dict[str, Flow] = {
    "xception41": SHORT + MIDDLE * 8 + EXIT,
    "xception65": SHORT + MIDDLE * 16 + EXIT,
    "xception71": LONG + MIDDLE * 16 + EXIT,
}
"""The blocks after the stem."""

EPSILON = 1e-3
"""Of batch norm: the released weights were trained with it."""


class XceptionBlock(nn.Module):
    """Three separable convolutions, the last of which may stride, and a shortcut.

    ReLU comes before each separable convolution and none is inside. The last block of the network has it the other way
    round, after every convolution, and no shortcut.

    Args:
        in_channels: of the map.
        channels: of each separable convolution.
        stage: kernel, stride and dilation (``first_dilation``: all three convolutions come before the stride).
        projected: a 1x1 convolution on the shortcut.
        is_last: of the network.
        norm: after each depthwise and pointwise convolution.
    """

    def __init__(
        self, in_channels: int, channels: tuple[int, ...], stage: Stage, *, projected: bool, is_last: bool, norm: Norm
    ) -> None:
        super().__init__()
        dims = len(stage.kernel)
        self.stack = nn.ModuleDict()
        self.shortcut: nn.Module | None = None
        self.is_last = is_last
        if projected and not is_last:
            self.shortcut = _conv_norm(in_channels, channels[-1], (1,) * dims, norm, stride=stage.stride)
        strides = ((1,) * dims, (1,) * dims, stage.stride)
        for number, (out_channels, stride) in enumerate(zip(channels, strides, strict=True), start=1):
            self.stack[f"conv{number}"] = _separable(in_channels, out_channels, stage, stride, norm, is_last)
            in_channels = out_channels

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, in, I, J[, K]) -> (B, out, ...), and before it the map that the third convolution takes."""
        y = before = x
        for separable in self.stack.values():
            before, y = y, separable(y)
        if not self.is_last:
            y = y + (x if self.shortcut is None else self.shortcut(x))
        return before, y


class Xception(nn.Module):
    """Two convolutions and blocks of separable ones; maps are what the convolutions that stride take, and the last one.

    So the second map, at stride 4, is the output of the second pointwise convolution of entry block 2 (entry block 3 in
    Xception-71): 256 channels after norm, before ReLU, which the decoder of DeepLab v3+ takes.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        flow: a value of FLOWS.
        output_stride: of the last map; blocks beyond it dilate (see ``strides``).
        stem_stride: of the first convolution, 1 or 2, for all axes or each.
        norm: after each convolution.
        width: factor on all channels.
        flat_levels: first levels that leave the last axis alone (see ``strides.Axes``).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        *,
        flow: Flow,
        output_stride: int = 32,
        stem_stride: StemStride = 2,
        norm: Norm = "batch",
        width: float = 1.0,
        flat_levels: int = 0,
    ) -> None:
        super().__init__()
        axes = Axes(spatial_dims, flat_levels)
        start = stem_strides(stem_stride, axes)
        stages = plan_stages([stride for _, stride in flow], start=start, output_stride=output_stride, axes=axes)

        first, channels = scaled(32, width), scaled(64, width)
        inner = axes.at(max(start).bit_length() - 1, 3)
        self.stem = nn.Sequential(
            _conv_norm(in_channels, first, axes.at(0, 3), norm, stride=start, act=True),
            _conv_norm(first, channels, inner, norm, act=True),
        )
        self.blocks = nn.ModuleList()
        maps = []
        before = start
        for stage, (base, stride) in zip(stages, flow, strict=True):
            widths = tuple(scaled(c, width) for c in base)
            # A stride that is held back keeps its 1x1 convolution, so that the weights stay the same.
            projected = stride > 1 or widths[-1] != channels
            is_last = len(self.blocks) == len(flow) - 1
            self.blocks.append(XceptionBlock(channels, widths, stage, projected=projected, is_last=is_last, norm=norm))
            if stride > 1:
                maps.append((len(self.blocks) - 1, widths[1], before))
            channels, before = widths[-1], stage.total

        self.taps = tuple(block for block, _, _ in maps)
        self.channels = (*(c for _, c, _ in maps), channels)
        self.strides = (*(strides for _, _, strides in maps), before)
        initialise(self)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                module.eps = EPSILON
        if norm == "none":
            self._scale_residuals()

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps at the end of each stride, the last one after ReLU."""
        return list(self.maps(x))

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        """The same, each when it is asked for."""
        x = apply(self.stem, x)
        for index, block in enumerate(self.blocks):
            before, x = block(x)
            if index in self.taps:
                yield before
        yield x

    def _scale_residuals(self) -> None:
        """Keep the activations in range without norm: a pointwise convolution has no ReLU before it, a sum doubles."""
        *blocks, _ = self.blocks
        with torch.no_grad():
            for block in blocks:
                for name, weight in block.named_parameters():
                    if name.endswith(("pw.weight", "shortcut.conv.weight")):
                        weight.mul_(0.5**0.5)
                    if name == "stack.conv3.conv_pw.weight":
                        weight.mul_(len(blocks) ** -0.5)


def _conv_norm(
    in_channels: int, out_channels: int, kernel: PerAxis, norm: Norm, *, stride: PerAxis | int = 1, act: bool = False
) -> nn.Sequential:
    dims = len(kernel)
    layers = conv_norm_act(dims, in_channels, out_channels, kernel, norm=norm, stride=stride)
    return nn.Sequential(OrderedDict(zip(("conv", "bn", "act") if act else ("conv", "bn"), layers, strict=False)))


def _separable(
    in_channels: int, out_channels: int, stage: Stage, stride: PerAxis, norm: Norm, relu_inside: bool
) -> nn.Sequential:
    dims, bias = len(stage.kernel), norm == "none"
    geometry: dict[str, Any] = {"stride": stride, "dilation": stage.first_dilation, "groups": in_channels}
    before, after = (nn.Identity, nn.ReLU) if relu_inside else (nn.ReLU, nn.Identity)
    layers: list[tuple[str, nn.Module]] = [
        ("act", before()),
        ("conv_dw", conv(dims, in_channels, in_channels, stage.kernel, bias=bias, **geometry)),
        ("bn_dw", norm_layer(norm, in_channels, dims)),
        ("act_dw", after()),
        ("conv_pw", conv(dims, in_channels, out_channels, 1, bias=bias)),
        ("bn_pw", norm_layer(norm, out_channels, dims)),
        ("act_pw", after()),
    ]
    return nn.Sequential(OrderedDict(layers))
