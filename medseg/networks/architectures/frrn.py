"""Full-resolution residual networks (FRRN): Pohlen, Hermans, Mathias and Leibe 2017, arXiv 1611.08323."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.networks.encoders.strides import Axes, PerAxis, times
from medseg.networks.layers.blocks import (
    MAX_POOL,
    Norm,
    apply,
    conv,
    conv_norm_act,
    initialise,
    initialise_classifier,
    norm_layer,
    scaled,
)
from medseg.networks.layers.sizes import crop, pad_small
from medseg.networks.layers.upsampling import resize
from medseg.networks.options import FlatLevels, Probability, Width
from medseg.networks.outputs import Output, to_size

Variant = Literal["A", "B"]

DOWN: dict[Variant, tuple[tuple[int, int], ...]] = {
    "A": ((3, 96), (4, 192), (2, 384), (2, 384)),
    "B": ((3, 96), (4, 192), (2, 384), (2, 384), (2, 384)),
}
"""Coupled units after each max-pool, and their channels."""

UP: dict[Variant, tuple[tuple[int, int], ...]] = {
    "A": ((2, 192), (2, 192), (2, 96)),
    "B": ((2, 192), (2, 192), (2, 192), (2, 96)),
}
"""Coupled units after each upsampling but the last."""


class ResidualUnit(nn.Module):
    """Two convolutions with norm, a ReLU between them and none after the sum."""

    def __init__(self, in_channels: int, out_channels: int, kernel: PerAxis, *, norm: Norm) -> None:
        super().__init__()
        dims, bias = len(kernel), norm == "none"
        self.convs = nn.Sequential(
            conv_norm_act(dims, in_channels, out_channels, kernel, norm=norm),
            conv(dims, out_channels, out_channels, kernel, bias=bias),
            norm_layer(norm, out_channels, dims),
        )
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else conv(dims, in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, I, J[, K]) -> (B, out, I, J[, K])."""
        return apply(self.convs, x) + apply(self.shortcut, x)


class FullResolutionResidualUnit(nn.Module):
    """Reads the residual stream through a max-pool, computes the next pooling stream, and adds to the residual stream.

    Args:
        in_channels: of the pooling stream.
        stream_channels: of the residual stream.
        out_channels: of the next pooling stream.
        kernel: of the two convolutions.
        scale: cells of the residual stream to one of the pooling stream, along each axis.
        norm: in the two convolutions; the 1x1 back to the residual stream has a bias instead.
    """

    def __init__(
        self,
        in_channels: int,
        stream_channels: int,
        out_channels: int,
        kernel: PerAxis,
        scale: PerAxis,
        *,
        norm: Norm,
    ) -> None:
        super().__init__()
        dims = len(kernel)
        self.scale = scale
        self.pool = MAX_POOL[dims](scale, ceil_mode=True)
        self.convs = nn.Sequential(
            conv_norm_act(dims, in_channels + stream_channels, out_channels, kernel, norm=norm),
            conv_norm_act(dims, out_channels, out_channels, kernel, norm=norm),
        )
        self.residual = conv(dims, out_channels, stream_channels, 1)

    def forward(self, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Pooling stream y and residual stream z -> the next ones; z keeps its size."""
        y = apply(self.convs, torch.cat([y, apply(self.pool, z)], dim=1))
        size = [n * s for n, s in zip(y.shape[2:], self.scale, strict=True)]
        return y, z + crop(F.interpolate(apply(self.residual, y), size, mode="nearest"), z.shape[2:])


class FRRN(nn.Module):
    """Two streams: one is pooled and enlarged again, the other keeps the resolution, and every unit couples them.

    Pooling rounds up and what is enlarged is cropped, so cells stay aligned for any size. The pooling stream is
    enlarged linearly, as in the authors' code. In the paper the residual stream has the image's resolution.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        variant: `A` pools four times, `B` five times.
        stream_stride: of the residual stream. 1 is the paper's; 2 strides in the first convolution and enlarges the
            logits, which saves seven eighths of the memory in 3D. None is 1 in 2D and 2 in 3D.
        dropout: at the coarsest map (the paper has none).
        norm: after every convolution but the last, those back to the residual stream and the last shortcut.
        width: factor on all channels.
        flat_levels: first levels of resolution that leave the last axis alone, for thick slices (3D only).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        variant: Variant = "A",
        stream_stride: Literal[1, 2] | None = None,
        dropout: Probability = 0.0,
        norm: Norm = "batch",
        width: Width = 1.0,
        flat_levels: FlatLevels = 0,
    ) -> None:
        super().__init__()
        axes = Axes(spatial_dims, flat_levels)
        start = axes.at(0, stream_stride or (1 if spatial_dims == 2 else 2))
        base = max(start).bit_length() - 1
        kernel, channels, stream_channels = axes.at(base, 3), scaled(48, width), scaled(32, width)
        self.first = nn.Sequential(
            conv_norm_act(spatial_dims, in_channels, channels, axes.at(0, 5), norm=norm, stride=start),
            *(ResidualUnit(channels, channels, kernel, norm=norm) for _ in range(3)),
        )
        self.split = nn.Sequential(
            conv(spatial_dims, channels, stream_channels, 1, bias=norm == "none"),
            norm_layer(norm, stream_channels, spatial_dims),
        )

        depth = len(DOWN[variant])
        self.steps = [axes.at(base + level, 2) for level in range(depth)]
        self.pools = nn.ModuleList(MAX_POOL[spatial_dims](step, ceil_mode=True) for step in self.steps)
        scales = [(1,) * spatial_dims]
        for step in self.steps:
            scales.append(times(scales[-1], step))
        self.minimum = tuple(s + 1 for s in times(start, scales[-1]))
        """Smallest size that leaves two cells for the norms of the coarsest map."""

        self.stages = nn.ModuleList()
        levels = [*range(1, depth + 1), *range(depth - 1, 0, -1)]
        y_channels = channels
        for level, (count, base_channels) in zip(levels, DOWN[variant] + UP[variant], strict=True):
            stage = nn.ModuleList()
            for _ in range(count):
                stage.append(
                    FullResolutionResidualUnit(
                        y_channels,
                        stream_channels,
                        scaled(base_channels, width),
                        axes.at(base + level, 3),
                        scales[level],
                        norm=norm,
                    )
                )
                y_channels = scaled(base_channels, width)
            self.stages.append(stage)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Sequential(
            ResidualUnit(y_channels + stream_channels, channels, kernel, norm=norm),
            *(ResidualUnit(channels, channels, kernel, norm=norm) for _ in range(2)),
        )
        self.classifier = conv(spatial_dims, channels, num_classes, 1)
        initialise(self.first, self.split, self.stages, self.last)
        initialise_classifier(self.classifier)
        _scale_residuals(self, norm)

    def forward(self, x: Tensor) -> Output:
        """(B, C, I, J[, K]) -> logits (B, num_classes, I, J[, K])."""
        padded = pad_small(x, self.minimum)
        y = apply(self.first, padded)
        z = apply(self.split, y)
        sizes = []
        for pool, stage in zip(self.pools, self.stages, strict=False):
            sizes.append(y.shape[2:])
            y, z = _run(stage, pool(y), z)
        y = self.dropout(y)
        for step, stage in zip(reversed(self.steps), [*self.stages[len(sizes) :], nn.ModuleList()], strict=True):
            enlarged = resize(y, [n * s for n, s in zip(y.shape[2:], step, strict=True)])
            y, z = _run(stage, crop(enlarged, sizes.pop()), z)
        scores = apply(self.classifier, self.last(torch.cat([y, z], dim=1)))
        return to_size(scores, padded.shape[2:], x.shape[2:])


def _run(stage: nn.Module, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Both streams through the units of a stage, each fed by the one before."""
    for unit in stage.children():
        y, z = unit(y, z)
    return y, z


def _scale_residuals(network: nn.Module, norm: Norm) -> None:
    """Shrink what each unit adds to its stream without a norm of its own: the sums would grow from unit to unit."""
    added = [unit.residual for unit in network.modules() if isinstance(unit, FullResolutionResidualUnit)]
    if norm == "none":
        added += [unit.convs[1] for unit in network.modules() if isinstance(unit, ResidualUnit)]
    with torch.no_grad():
        for layer in added:
            assert isinstance(layer.weight, Tensor)
            layer.weight.mul_(len(added) ** -0.5)
