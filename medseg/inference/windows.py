"""How a study is covered by windows: where they lie, and how much each of their voxels counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from medseg.types import Mode, Shape3


@dataclass(frozen=True)
class Windows:
    """How a study is covered.

    Attributes:
        size: voxels of a window along I, J, K; K is 1 in modes slice and slab.
        mode: slice, slab or patch.
        slab_neighbours: slices on each side of the centre that become channels.
        overlap: share of a window that its neighbour covers too, in [0, 1).
        blending: weights of overlapping windows.
        batch_size: windows a forward pass.
        flip_axes: average over all combinations of mirroring along these axes (0, 1, 2).
        scales: factors by which the network sees each window resized, along all its axes (a slab's channels are none);
            flips come at every scale, and ``len(scales)`` times as many forward passes.
        placement: even spreads windows from edge to edge; steps puts them at multiples of one step and pushes the last
            back onto the edge, as MONAI does.
        scale_fusion: mean of the logits over the scales, or their maximum, class by class (DeepLab v2).

    Raises:
        ValueError: a value outside its range.
    """

    size: Shape3
    mode: Mode = "patch"
    slab_neighbours: int = 0
    overlap: float = 0.5
    blending: Literal["gaussian", "constant"] = "gaussian"
    batch_size: int = 4
    flip_axes: tuple[int, ...] = ()
    scales: tuple[float, ...] = (1.0,)
    scale_fusion: Literal["mean", "max"] = "mean"
    placement: Literal["even", "steps"] = "even"

    def __post_init__(self) -> None:
        if len(self.size) != 3 or min(self.size) < 1 or (self.mode != "patch" and self.size[2] != 1):
            raise ValueError(f"size: expected three whole numbers above 0, the last 1 but in mode patch: {self.size}")
        if not 0.0 <= self.overlap < 1.0 or self.batch_size < 1:
            raise ValueError(f"expected 0 <= overlap < 1 and batch_size >= 1: {self.overlap}, {self.batch_size}")
        if self.mode not in ("slice", "slab", "patch") or self.blending not in ("gaussian", "constant"):
            raise ValueError(f"expected a mode and a blending of those known: {self.mode}, {self.blending}")
        if not set(self.flip_axes) <= {0, 1, 2}:
            raise ValueError(f"flip_axes: expected some of 0, 1, 2: {self.flip_axes}")
        if self.placement not in ("even", "steps"):
            raise ValueError(f"expected a placement even or steps: {self.placement}")
        if not self.scales or not min(self.scales) > 0 or self.scale_fusion not in ("mean", "max"):
            raise ValueError(f"expected scales above 0 and a fusion mean or max: {self.scales}, {self.scale_fusion}")


def window_starts(shape: Sequence[int], windows: Windows) -> list[list[int]]:
    """First voxel of every window along each axis, from edge to edge, sharing at least ``overlap``.

    The grid of windows is the product of the three lists; the last window ends on the last voxel.
    """
    starts = []
    for axis, (length, size) in enumerate(zip(shape, windows.size, strict=True)):
        if windows.mode != "patch" and axis == 2:
            starts.append(list(range(length)))
            continue
        step = max(1, int(size * (1.0 - windows.overlap) + 1e-6))  # 10 * (1 - 0.8) is 1.9999999999999996
        count = -(-(length - size) // step) + 1
        last = length - size
        if windows.placement == "steps":
            starts.append([min(i * step, last) for i in range(count)])
            continue
        starts.append([round(i * last / (count - 1)) for i in range(count)] if count > 1 else [0])
    return starts


def window_weights(size: Sequence[int], blending: Literal["gaussian", "constant"]) -> Tensor:
    """Weights (i, j, k) of a window: 1 at its centre; Gaussian of sigma size / 8 as in nnU-Net and MONAI, or constant.

    Never below a thousandth, so that the division is safe where only a corner covers a voxel.
    """
    weights = torch.ones(tuple(size))
    if blending == "gaussian":
        for axis, n in enumerate(size):
            offset = torch.arange(n, dtype=torch.float32) - (n - 1) / 2.0
            bell = torch.exp(-0.5 * (offset / (n / 8.0)) ** 2)
            weights = weights * bell.reshape([-1 if a == axis else 1 for a in range(len(size))])
    return weights.clamp_min(1e-3)
