"""Strides, dilations and kernels of the stages of an encoder, axis by axis.

A stage whose stride is taken away multiplies the running dilation by it. Its first convolution keeps the dilation
before (the half-step convention of torchvision, timm and TensorFlow's DeepLab): only so is the map, sub-sampled, the
very map of the strided encoder, and ImageNet weights keep their meaning. PSPNet's own nets dilate the first one too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from medseg.errors import ConfigError

StemStride = Literal[1, 2] | tuple[Literal[1, 2], ...]
"""Stride of the first convolution: one number, or one an axis."""

PerAxis = tuple[int, ...]


@dataclass(frozen=True)
class Axes:
    """Which axes the layers of each level work along.

    Level n is the resolution after n halvings. Where slices lie more than twice as far apart as their voxels, the first
    levels had better leave the last axis alone until the voxels are near cubes, as nnU-Net's plans do.

    Attributes:
        spatial_dims: 2 or 3.
        flat_levels: levels whose kernels and strides along the last axis are 1 (3D only).
    """

    spatial_dims: int
    flat_levels: int = 0

    def at(self, level: int, size: int) -> PerAxis:
        """A kernel or stride at a level, one number an axis."""
        if self.spatial_dims == 3 and level < self.flat_levels:
            return (size, size, 1)
        return (size,) * self.spatial_dims


@dataclass(frozen=True)
class Stage:
    """Geometry of the first block of one stage.

    Attributes:
        stride: of the convolution that strides.
        kernel: of that convolution, for a size of 3.
        first_dilation: of that convolution.
        inner_kernel: of all that follow.
        dilation: of all that follow.
        total: stride of the stage's output, from the image.
    """

    stride: PerAxis
    kernel: PerAxis
    first_dilation: int
    inner_kernel: PerAxis
    dilation: int
    total: PerAxis

    @property
    def rest(self) -> Stage:
        """Geometry of the stage's other blocks."""
        return replace(self, stride=(1,) * len(self.stride), kernel=self.inner_kernel, first_dilation=self.dilation)

    def at_rates(self, first: int, second: int) -> Stage:
        """The same with other dilations."""
        return replace(self, first_dilation=first, dilation=second)


def plan_stages(
    strides: Sequence[int], *, start: PerAxis, output_stride: int, axes: Axes, dilate_first: bool = False
) -> list[Stage]:
    """Hold the strides of the paper back at ``output_stride``.

    Args:
        strides: each stage's own stride, 1 or 2.
        start: stride of the map that enters the first stage.
        output_stride: of the last map, along the axis that strides most.
        axes: which levels are flat.
        dilate_first: dilate the first block of a held-back stage too.

    Raises:
        ConfigError: an output stride that no stage ends at.
    """
    total, along, dilation = max(start), start, 1
    stages, reachable = [], {total}
    for stride in strides:
        reachable.add(max(reachable) * stride)
        level, before = total.bit_length() - 1, dilation
        if total * stride > output_stride:
            dilation, stride = dilation * stride, 1
        total *= stride
        steps = axes.at(level, stride)
        along = tuple(a * s for a, s in zip(along, steps, strict=True))
        stages.append(
            Stage(
                stride=steps,
                kernel=axes.at(level, 3),
                first_dilation=dilation if dilate_first else before,
                inner_kernel=axes.at(total.bit_length() - 1, 3),
                dilation=dilation,
                total=along,
            )
        )
    if output_stride not in reachable:
        choices = ", ".join(map(str, sorted(reachable)))
        raise ConfigError(
            f"network.output_stride: expected one of {choices} for this encoder and stem, found {output_stride}"
        )
    return stages


def stem_strides(stem_stride: StemStride, axes: Axes) -> PerAxis:
    """One stride an axis; 1 along the last axis of a flat level.

    Raises:
        ConfigError: as many numbers as there are axes were expected.
    """
    strides = (stem_stride,) * axes.spatial_dims if isinstance(stem_stride, int) else tuple(stem_stride)
    if len(strides) != axes.spatial_dims:
        raise ConfigError(f"network.stem_stride: expected 1 or {axes.spatial_dims} numbers, found {list(strides)}")
    return tuple(min(s, flat) for s, flat in zip(strides, axes.at(0, 2), strict=True))


def times(strides: PerAxis, factors: PerAxis) -> PerAxis:
    """Axis by axis."""
    return tuple(s * f for s, f in zip(strides, factors, strict=True))
