"""Parts of a map: what the layers that follow must be given where only part of their result is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from medseg.networks.encoders.strides import PerAxis, times


class Box(NamedTuple):
    """Cells of a map from ``start`` up to ``stop`` along each axis."""

    start: PerAxis
    stop: PerAxis

    @classmethod
    def all(cls, whole: PerAxis) -> Box:
        """Every cell of a map."""
        return cls((0,) * len(whole), whole)

    def joined(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(tuple(map(min, self.start, other.start)), tuple(map(max, self.stop, other.stop)))

    def cut(self, x: Tensor, outer: Box) -> Tensor:
        """This part of a map (B, C, I, J[, K]) of which ``x`` is the part ``outer``."""
        for axis, (begin, start, stop) in enumerate(zip(outer.start, *self, strict=True), start=2):
            x = x.narrow(axis, start - begin, stop - start)
        return x

    def spread(self, x: Tensor, whole: PerAxis) -> Tensor:
        """A map of zeros with ``x`` in this part of it."""
        ends = [(start, n - stop) for start, stop, n in zip(*self, whole, strict=True)]
        return F.pad(x, [n for pair in reversed(ends) for n in pair]) if any(map(any, ends)) else x


class Reach(NamedTuple):
    """How far some layers see: cell i of the result depends on the cells ``i * stride`` +- ``radius`` of the input."""

    stride: PerAxis
    radius: PerAxis

    @classmethod
    def of(cls, layers: nn.Module) -> Reach:
        """That of convolutions which keep the size, or stride once, one after the other (or more than that)."""
        convs = [module for module in layers.modules() if isinstance(module, nn.Conv2d | nn.Conv3d)]
        stride = tuple(max(axis) for axis in zip(*(conv.stride for conv in convs), strict=True))
        radii = (tuple(d * (k // 2) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)) for conv in convs)
        return cls(stride, times(stride, tuple(sum(axis) for axis in zip(*radii, strict=True))))

    def needs(self, asked: Box, whole: PerAxis, multiple: PerAxis) -> Box:
        """The part of the input on which the part of the result that is asked for depends.

        Args:
            asked: cells of the result.
            whole: cells of the input.
            multiple: of which the part's start is one, so that strides fall on the same cells as in the whole.
        """
        start = (max(0, a * s - r) // m * m for a, s, r, m in zip(asked.start, *self, multiple, strict=True))
        stop = (min(n, (a - 1) * s + r + 1) for a, s, r, n in zip(asked.stop, *self, whole, strict=True))
        return Box(tuple(start), tuple(stop))

    def gives(self, part: Box) -> Box:
        """The part of the result that these cells of the input make."""
        return Box(*(tuple(-(-n // s) for n, s in zip(ends, self.stride, strict=True)) for ends in part))


def interpolated(mask: Tensor, size: Sequence[int], whole: PerAxis) -> Box:
    """The cells of a map from which linear interpolation takes the voxels of a mask.

    Args:
        mask: (I, J[, K]) bool, at least one of them true.
        size: to which the map is enlarged; the mask lies at its near end.
        whole: cells of the map.
    """
    voxels = mask.nonzero()
    start, stop = [], []
    for low, high, n, cells in zip(voxels.amin(0).tolist(), voxels.amax(0).tolist(), size, whole, strict=True):
        start.append(max(0, int((low + 0.5) * cells / n - 0.5)))
        stop.append(min(cells, int((high + 0.5) * cells / n - 0.5) + 2))
    return Box(tuple(start), tuple(stop))


def needed(stages: Sequence[Sequence[Reach]], asked: Sequence[Box], grids: Sequence[PerAxis]) -> list[Box]:
    """The part of its input that each block of the first stage needs.

    Args:
        stages: the blocks of this stage and of those after it, of which the first may stride.
        asked: the part of each stage's map that is asked for.
        grids: cells of the map that enters the first stage, and of each stage's map.
    """
    multiple: PerAxis = (1,) * len(grids[0])
    part, parts = asked[-1], list[Box]()
    for blocks, own, before, after in reversed(list(zip(stages, asked, grids[:-1], grids[1:], strict=True))):
        part, parts = part.joined(own), []
        for number, reach in reversed(list(enumerate(blocks))):
            multiple = times(multiple, reach.stride)
            part = reach.needs(part, after if number else before, multiple)
            parts.append(part)
    return parts[::-1]
