"""Sliding-window inference on the network grid, for slices, slabs and patches alike.

Every mode is the same walk: a window of (i, j, k) voxels, k being 1 for slices and slabs; neighbouring slices of a slab
are gathered as channels when the window is cut. Logits are blended with Gaussian (or constant) weights. A window may be
seen several times, mirrored and at other scales (test-time augmentation).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medseg.networks.upsampling import resize
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

    def __post_init__(self) -> None:
        if len(self.size) != 3 or min(self.size) < 1 or (self.mode != "patch" and self.size[2] != 1):
            raise ValueError(f"size: expected three whole numbers above 0, the last 1 but in mode patch: {self.size}")
        if not 0.0 <= self.overlap < 1.0 or self.batch_size < 1:
            raise ValueError(f"expected 0 <= overlap < 1 and batch_size >= 1: {self.overlap}, {self.batch_size}")
        if self.mode not in ("slice", "slab", "patch") or self.blending not in ("gaussian", "constant"):
            raise ValueError(f"expected a mode and a blending of those known: {self.mode}, {self.blending}")
        if not set(self.flip_axes) <= {0, 1, 2}:
            raise ValueError(f"flip_axes: expected some of 0, 1, 2: {self.flip_axes}")
        if not self.scales or not min(self.scales) > 0 or self.scale_fusion not in ("mean", "max"):
            raise ValueError(f"expected scales above 0 and a fusion mean or max: {self.scales}, {self.scale_fusion}")


@torch.inference_mode()
def predict_logits(network: nn.Module, image: Tensor, windows: Windows, num_classes: int) -> Tensor:
    """Run ``network`` over a whole study.

    Args:
        network: (B, C, i, j[, k]) float32 -> logits (B, num_classes, i, j[, k]); in eval mode, on its device.
        image: (I, J, K) float32 on the network grid, on the CPU.
        windows: how the study is covered; an axis shorter than the window is padded with air on both sides.
        num_classes: channels of the result.

    Returns:
        (num_classes, I, J, K) float32 logits on the CPU.
    """
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    padding = [max(0, w - n) for w, n in zip(windows.size, image.shape, strict=True)]
    before = [p // 2 for p in padding]
    padded = F.pad(image, _pad_argument(before, padding))
    logits = torch.zeros((num_classes, *padded.shape))
    weights = torch.zeros(tuple(padded.shape))
    importance = window_weights(windows.size, windows.blending)
    starts = list(itertools.product(*window_starts(tuple(padded.shape), windows)))
    for group in _groups(starts, windows.batch_size):
        batch = torch.stack([_cut(padded, start, windows) for start in group]).to(device)
        out = _at_scales(network, batch, windows).cpu()
        if windows.mode != "patch":
            out = out[..., None]
        for start, window in zip(group, out, strict=True):
            place = tuple(slice(a, a + n) for a, n in zip(start, windows.size, strict=True))
            logits[(slice(None), *place)] += window * importance
            weights[place] += importance
    logits /= weights
    inside = tuple(slice(b, b + n) for b, n in zip(before, image.shape, strict=True))
    return logits[(slice(None), *inside)]


def window_starts(shape: Sequence[int], windows: Windows) -> list[list[int]]:
    """First voxel of every window along each axis: evenly spread from edge to edge, sharing at least ``overlap``.

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


def _pad_argument(before: Sequence[int], padding: Sequence[int]) -> list[int]:
    pairs = [(b, p - b) for b, p in zip(before, padding, strict=True)]
    return [n for pair in reversed(pairs) for n in pair]


def _groups(starts: Sequence[tuple[int, ...]], size: int) -> Iterator[Sequence[tuple[int, ...]]]:
    for first in range(0, len(starts), size):
        yield starts[first : first + size]


def _cut(image: Tensor, start: Sequence[int], windows: Windows) -> Tensor:
    i, j, k = start
    rows, columns = slice(i, i + windows.size[0]), slice(j, j + windows.size[1])
    if windows.mode == "patch":
        return image[rows, columns, k : k + windows.size[2]][None]
    # beyond the first and last slice a slab repeats them, as training does
    n = windows.slab_neighbours
    slices = torch.arange(k - n, k + n + 1).clamp(0, image.shape[2] - 1)
    return image[rows, columns][..., slices].movedim(-1, 0)


def _at_scales(network: nn.Module, batch: Tensor, windows: Windows) -> Tensor:
    size, fuse = batch.shape[2:], torch.maximum if windows.scale_fusion == "max" else torch.add
    fused: Tensor | None = None
    for scale in windows.scales:
        seen = resize(batch, [max(1, round(n * scale)) for n in size])
        out = resize(_with_flips(network, seen, windows).float(), size)
        fused = out if fused is None else fuse(fused, out)
    assert fused is not None
    return fused if windows.scale_fusion == "max" else fused / len(windows.scales)


def _with_flips(network: nn.Module, batch: Tensor, windows: Windows) -> Tensor:
    axes = [a + 2 for a in windows.flip_axes if a + 2 < batch.ndim]
    combinations = [c for n in range(len(axes) + 1) for c in itertools.combinations(axes, n)]
    total: Tensor | None = None
    for flipped in combinations:
        out = network(batch.flip(flipped)).flip(flipped) if flipped else network(batch)
        total = out if total is None else total + out
    assert total is not None
    return total / len(combinations)
