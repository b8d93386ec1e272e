"""Strides and dilations of the stages of an encoder with a chosen output stride.

A stage whose stride is taken away multiplies the running dilation by it. Its first convolution keeps the dilation
before (the half-step convention of torchvision, timm and TensorFlow's DeepLab): only so is the map, sub-sampled, the
very map of the strided encoder, and ImageNet weights keep their meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from medseg.errors import ConfigError

StemStride = Literal[1, 2] | tuple[Literal[1, 2], ...]
"""Stride of the first convolution: one number, or one an axis."""


@dataclass(frozen=True)
class Stage:
    """Geometry of one stage.

    Attributes:
        stride: of the stage's first block.
        first_dilation: of the convolution that would have strided.
        dilation: of all that follow.
        total: stride of the stage's output, from the image.
    """

    stride: int
    first_dilation: int
    dilation: int
    total: int


def plan_stages(strides: Sequence[int], *, start: int, output_stride: int) -> list[Stage]:
    """Hold the strides of the paper back at ``output_stride``.

    Args:
        strides: each stage's own stride.
        start: stride of the map that enters the first stage.
        output_stride: of the last map.

    Raises:
        ConfigError: an output stride that no stage ends at.
    """
    total, dilation = start, 1
    stages, reachable = [], {start}
    for stride in strides:
        reachable.add(max(reachable) * stride)
        first = dilation
        if total * stride > output_stride:
            dilation, stride = dilation * stride, 1
        total *= stride
        stages.append(Stage(stride, first, dilation, total))
    if output_stride not in reachable:
        choices = ", ".join(map(str, sorted(reachable)))
        raise ConfigError(
            f"network.output_stride: expected one of {choices} for this encoder and stem, found {output_stride}"
        )
    return stages


def stem_strides(stem_stride: StemStride, spatial_dims: int) -> tuple[int, ...]:
    """One stride an axis.

    Raises:
        ConfigError: as many numbers as there are axes were expected.
    """
    strides = (stem_stride,) * spatial_dims if isinstance(stem_stride, int) else tuple(stem_stride)
    if len(strides) != spatial_dims:
        raise ConfigError(f"network.stem_stride: expected 1 or {spatial_dims} numbers, found {list(strides)}")
    return strides
