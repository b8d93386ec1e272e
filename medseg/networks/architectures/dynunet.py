"""nnU-Net's network, as MONAI has it, and its plan: Isensee et al. 2021, doi 10.1038/s41592-020-01008-z."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.layers.blocks import Norm, apply, conv, every_axis, initialise_classifier
from medseg.networks.layers.monai_network import MonaiNetwork, with_norm
from medseg.networks.layers.patches import cells
from medseg.networks.options import Count, Probability
from medseg.networks.outputs import Auxiliary, Output, TrainingOutput

SMALLEST_MAP = 4
"""Cells along an axis below which the plan does not stride further."""

FIRST_FILTERS = 32

MOST_FILTERS = {2: 512, 3: 320}
"""By spatial dimensions."""

PerStage = Annotated[tuple[Count | tuple[Count, ...], ...], Field(min_length=3)]
"""A number for all axes, or one an axis, for each stage."""


class DynUNet(MonaiNetwork):
    """``monai.networks.nets.DynUNet`` for any input size: a plain or residual U-Net, each stage with its own geometry.

    MONAI keeps each layer under two names; here it has one, so that a checkpoint holds it once. Deep supervision is not
    MONAI's, which would stack the scores.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        strides: with which each stage begins, fine to coarse, one number or one an axis: [1, [2, 2, 1], 2, 2] strides
            its second stage within slices only. ``plan`` gives nnU-Net's for a patch and a spacing.
        kernels: of each stage's convolutions, odd; None is 3 everywhere.
        filters: channels of each stage; None is nnU-Net's 32, 64, 128 ... up to 512 in 2D and 320 in 3D.
        residual: blocks with a shortcut, in the encoder.
        deep_supervision: train scores of the decoder's coarser maps too, as ``level1``, ``level2`` ..., each with half
            the weight of the one before it and the coarsest without any, as nnU-Net does; nnU-Net also divides all
            weights by their sum, and compares each map with a label of its size.
        norm: `instance` is nnU-Net's.
        dropout: with every convolution; nnU-Net has none.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        strides: PerStage = (1, 2, 2, 2, 2, 2),
        kernels: PerStage | None = None,
        filters: tuple[Count, ...] | None = None,
        residual: bool = False,
        deep_supervision: bool = False,
        norm: Norm = "instance",
        dropout: Probability = 0.0,
    ) -> None:
        from monai.networks.nets.dynunet import DynUNet as MonaiDynUNet  # seconds to import

        steps = _per_axis("strides", strides, len(strides), spatial_dims)
        sizes = _per_axis("kernels", kernels or (3,) * len(strides), len(strides), spatial_dims)
        for stage, (size, step) in enumerate(zip(sizes, steps, strict=True)):
            if any(k % 2 == 0 or k < s - 1 for k, s in zip(size, step, strict=True)):
                raise ConfigError(
                    f"network.kernels: expected odd numbers, at least the stride less 1, found {list(size)} for "
                    f"strides {list(step)} in stage {stage + 1}"
                )
        filters = filters or planned_filters(len(strides), spatial_dims)
        if len(filters) != len(strides):
            raise ConfigError(f"network.filters: expected {len(strides)}, one for each stride, found {len(filters)}")
        if deep_supervision and len(strides) < 4:
            raise ConfigError("network.deep_supervision: expected at least 4 strides: the coarsest map has no weight")
        network = MonaiDynUNet(
            spatial_dims,
            in_channels,
            num_classes,
            kernel_size=sizes,
            strides=steps,
            upsample_kernel_size=steps[1:],
            filters=filters,
            dropout=dropout or None,
            norm_name=("instance", {"affine": True}),
            res_block=residual,
        )
        del network.skip_layers  # the same layers once more
        if dropout:
            del network.output_block.conv.adn  # it would drop logits
        super().__init__(with_norm(network, norm, spatial_dims), [math.prod(axis) for axis in zip(*steps, strict=True)])
        self.heads = nn.ModuleList()
        if deep_supervision:
            for channels in filters[1 : len(strides) - 2]:
                self.heads.append(conv(spatial_dims, channels, num_classes, 1))
                initialise_classifier(self.heads[-1])

    def run(self, x: Tensor) -> Output:
        """Down, up, and the scores of the finest map; of some coarser ones too where they are trained."""
        maps = self._decoded(x)
        logits = apply(self.network.output_block, maps[0])
        if not self.training or not len(self.heads):
            return logits
        return TrainingOutput(
            logits,
            tuple(
                Auxiliary(f"level{level}", apply(head, coarse), 0.5**level)
                for level, (head, coarse) in enumerate(zip(self.heads, maps[1:], strict=False), start=1)
            ),
        )

    def _decoded(self, x: Tensor) -> list[Tensor]:
        """The decoder's maps, fine to coarse."""
        skips: list[Tensor] = []
        for block in (self.network.input_block, *self.network.downsamples):
            x = block(x)
            skips.append(x)
        x = self.network.bottleneck(x)
        maps: list[Tensor] = []
        for block in self.network.upsamples:
            x = block(x, skips.pop())
            maps.append(x)
        return maps[::-1]

    def patch_warnings(self, patch_size: Sequence[int]) -> list[str]:
        """Name axes along which the coarsest map of such a patch is smaller than nnU-Net lets it become."""
        coarsest = cells(patch_size, self.strides)
        if all(n >= SMALLEST_MAP or stride == 1 for n, stride in zip(coarsest, self.strides, strict=True)):
            return []
        return [
            f"network.strides: the coarsest map has {' x '.join(map(str, coarsest))} cells for a patch of "
            f"{' x '.join(map(str, patch_size))}, and nnU-Net keeps at least {SMALLEST_MAP} along an axis; take fewer "
            "stages or a larger patch (medseg.networks.architectures.dynunet.plan gives strides, kernels and filters)"
        ]


@dataclass(frozen=True)
class Plan:
    """nnU-Net's network for a patch, as options of ``DynUNet``.

    Attributes:
        strides: with which each stage begins, one number an axis.
        kernels: of each stage.
        filters: channels of each stage.
    """

    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    filters: tuple[int, ...]


def plan(patch_size: Sequence[int], spacing_mm: Sequence[float]) -> Plan:
    """nnU-Net's strides, kernels and filters for a patch.

    An axis is halved while that leaves at least four cells, and only where its voxels are less than twice as long as
    the shortest among the axes that can be halved; an axis that is halved alone needs twelve cells. A kernel spans
    three voxels along an axis from the stage on in which they are less than twice as long as the shortest of all, and
    along every axis in the coarsest stage.

    Args:
        patch_size: voxels along each axis.
        spacing_mm: of the voxels, along the same axes.

    Raises:
        ValueError: not one positive spacing for each axis of a patch.
    """
    if len(patch_size) != len(spacing_mm) or not all(n > 0 for n in (*patch_size, *spacing_mm)):
        raise ValueError(f"expected a size and a spacing above 0 for each axis, found {patch_size} and {spacing_mm}")
    size, spacing = list(patch_size), list(spacing_mm)
    strides, kernels = [(1,) * len(size)], []
    kernel = [1] * len(size)
    while True:
        halved = [axis for axis, n in enumerate(size) if n >= 2 * SMALLEST_MAP]
        shortest = min((spacing[axis] for axis in halved), default=0.0)
        halved = [axis for axis in halved if spacing[axis] < 2 * shortest]
        if not halved or (len(halved) == 1 and size[halved[0]] < 3 * SMALLEST_MAP):
            break
        kernel = [3 if k == 3 or mm < 2 * min(spacing) else 1 for k, mm in zip(kernel, spacing, strict=True)]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in halved else 1 for axis in range(len(size))))
        size = [-(-n // s) for n, s in zip(size, strides[-1], strict=True)]
        spacing = [mm * s for mm, s in zip(spacing, strides[-1], strict=True)]
    kernels.append((3,) * len(size))
    return Plan(tuple(strides), tuple(kernels), planned_filters(len(strides), len(size)))


def planned_filters(stages: int, spatial_dims: int) -> tuple[int, ...]:
    """32 channels, doubled from stage to stage up to nnU-Net's limit."""
    return tuple(min(FIRST_FILTERS * 2**stage, MOST_FILTERS[spatial_dims]) for stage in range(stages))


def _per_axis(
    option: str, numbers: Sequence[int | tuple[int, ...]], stages: int, spatial_dims: int
) -> list[tuple[int, ...]]:
    per_axis = [every_axis(n, spatial_dims) for n in numbers]
    if len(per_axis) != stages:
        raise ConfigError(f"network.{option}: expected {stages}, one for each stride, found {len(per_axis)}")
    for stage in per_axis:
        if len(stage) != spatial_dims:
            raise ConfigError(f"network.{option}: expected {spatial_dims} numbers for each stage, found {list(stage)}")
    return per_axis
