"""Any input size: pad at the far end of each axis, crop back. Padding repeats the border voxel."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def pad_to(x: Tensor, size: Sequence[int]) -> Tensor:
    """Pad (B, C, I, J[, K]) to at least ``size`` along the spatial axes; longer axes stay."""
    missing = [max(want - have, 0) for want, have in zip(size, x.shape[2:], strict=True)]
    if not any(missing):
        return x
    return F.pad(x, [p for m in reversed(missing) for p in (0, m)], mode="replicate")


def pad_small(x: Tensor, minimum: Sequence[int]) -> Tensor:
    """Pad to ``minimum`` an input that is shorter than it along every axis.

    One axis of ``stride + 1`` voxels is enough for two cells in the deepest map, which is what batch and instance norm
    need; thin patches such as 128 x 128 x 8 are therefore left as they are.
    """
    small = all(have < want for want, have in zip(minimum, x.shape[2:], strict=True))
    return pad_to(x, minimum) if small else x


def pad_to_multiple(x: Tensor, strides: Sequence[int]) -> Tensor:
    """Pad each axis to a multiple of its stride, and to two cells of the deepest map if all axes would have one."""
    size = [math.ceil(n / s) * s for n, s in zip(x.shape[2:], strides, strict=True)]
    if size == list(strides):
        size = [2 * s for s in strides]
    return pad_to(x, size)


def crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """The first ``size`` voxels along the spatial axes of (B, C, I, J[, K])."""
    for axis, n in enumerate(size, start=2):
        x = x.narrow(axis, 0, n)
    return x
