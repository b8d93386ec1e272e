"""The slices of the network grid that windows are still being added to: sums of weighted scores, and of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

_TOGETHER = 8
"""Slices that are given away at once."""


class Slab:
    """A few neighbouring slices, moved along the study as its first ones become complete.

    Args:
        plane: voxels along I and J.
        depth: slices held.
        importance: (i, j, k) weights of a window's voxels.
        blank: (S,) the scores where no window was added; the slices are held on its device.
        dtype: of the sums; float16 takes half the memory and keeps three digits.
    """

    def __init__(
        self,
        plane: Sequence[int],
        depth: int,
        importance: Tensor,
        blank: Tensor,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.on_cpu = False
        self._plane, self._depth = tuple(plane), depth
        self._importance, self._blank, self._dtype = importance, blank, dtype
        self._first = 0
        self._sums: Tensor | None = None
        self._weights: Tensor | None = None

    def add(self, scores: Tensor, start: Sequence[int]) -> None:
        """Add a window's (S, i, j, k) scores at the place of its first voxel, which lies in the slices held."""
        if self._sums is None:  # slices without body may never need it
            device = self._blank.device
            self._sums = torch.zeros((len(self._blank), *self._plane, self._depth), device=device, dtype=self._dtype)
            self._weights = torch.zeros((*self._plane, self._depth), device=device)
            self._importance = self._importance.to(device)
        assert self._weights is not None
        i, j, k = (slice(a, a + n) for a, n in zip(start, self._importance.shape, strict=True))
        k = slice(k.start - self._first, k.stop - self._first)
        scores = scores.to(self._sums.device)
        if self._dtype == torch.float32:
            self._sums[:, i, j, k].addcmul_(scores, self._importance)
        else:
            self._sums[:, i, j, k] += scores * self._importance
        self._weights[i, j, k] += self._importance

    def release(self, first: int) -> Iterator[tuple[int, Tensor]]:
        """Give away all slices before ``first``, and hold as many from it on.

        Yields:
            (number of the first slice, (n, S, I, J) averaged scores), in order.
        """
        for at in range(self._first, first, _TOGETHER):
            yield at, self._averages(at - self._first, min(first, at + _TOGETHER) - self._first)
        self._move(first - self._first)
        self._first = first

    def move_to_cpu(self) -> None:
        """Hold everything in the computer's memory from now on."""
        self.on_cpu = True
        if self._sums is not None and self._weights is not None:
            self._sums, self._weights = self._sums.cpu(), self._weights.cpu()
        self._importance, self._blank = self._importance.cpu(), self._blank.cpu()

    def _averages(self, start: int, stop: int) -> Tensor:
        block = self._blank.expand(stop - start, *self._plane, -1).permute(0, 3, 1, 2).contiguous()
        if self._sums is None or self._weights is None or start >= self._depth:
            return block
        held = min(stop, self._depth) - start
        weights = self._weights[..., start : start + held].permute(2, 0, 1)
        covered = weights > 0
        for index, sums in enumerate(self._sums):  # a class at a time stays in the cache
            averages = sums[..., start : start + held].permute(2, 0, 1) / weights
            block[:held, index] = torch.where(covered, averages, block[:held, index])
        return block

    def _move(self, steps: int) -> None:
        if self._sums is None or self._weights is None or steps == 0:
            return
        for held in (*self._sums, self._weights):  # a class at a time: no second slab
            kept = max(0, self._depth - steps)
            held[..., :kept] = held[..., self._depth - kept :].clone()
            held[..., kept:] = 0
