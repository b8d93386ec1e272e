"""From scores on the network grid back to class indices on the study's own grid, a few slices at a time.

A linear interpolation never leaves the range of what it joins, so where all eight network voxels around a study's voxel
decide for one class, that class it is: only voxels near a border between classes are interpolated. The work hardly
grows with the number of classes, and no array of classes x voxels of the study is ever made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medseg.study.geometry import reorient
from medseg.transforms.preprocessing import Crop, Preprocessed
from medseg.transforms.resampling import linear_positions

_POINTS = 2**18
"""Voxels that are interpolated at once."""


class Decide(Protocol):
    """How scores become classes: ``model.classes.Classes.decide``, with thresholds or without."""

    def __call__(self, scores: Tensor, /, *, dim: int = 0) -> Tensor:
        """Classes (...) uint8 of scores whose channels lie along ``dim``: 0, or 1 of two-dimensional ones."""


def restore(scores: Tensor, study: Preprocessed, decide: Decide) -> NDArray[np.uint8]:
    """Interpolate a whole study's scores to its own voxels and decide; see ``Restorer``.

    Args:
        scores: (C, I', J', K') on ``study.grid``.
        study: what ``preprocess`` returned for this study.
        decide: what scores become.

    Returns:
        (I, J, K) uint8 class indices on ``study.native``; outside the crop background.
    """
    restorer = Restorer(study, decide)
    restorer.add(scores.permute(3, 0, 1, 2))
    return restorer.classes


class Restorer:
    """Takes the network grid's slices in order, and fills the study's label map as far as they reach.

    Args:
        study: what ``preprocess`` returned.
        decide: what scores become.
        num_extras: further maps in [0, 1] that come with the scores and are brought back as bytes.

    Attributes:
        classes: (I, J, K) uint8 on the study's own grid, C order; background where nothing has arrived.
        extras: so many (I, J, K) uint8 arrays, values times 255; 0 where nothing has arrived.
    """

    def __init__(self, study: Preprocessed, decide: Decide, num_extras: int = 0) -> None:
        self.classes = np.zeros(study.native.shape, np.uint8)
        self.extras = [np.zeros(study.native.shape, np.uint8) for _ in range(num_extras)]
        self._decide, self._crop = decide, study.crop
        views = [reorient(array, study.native.affine)[0][study.crop] for array in (self.classes, *self.extras)]
        self._classes_ras, *self._extras_ras = views
        axes = [
            linear_positions(n, extent, axis)
            for n, extent, axis in zip(
                study.grid.shape, self._classes_ras.shape, study.axes or (None,) * 3, strict=True
            )
        ]
        self._rows, self._columns, (lower, share) = axes
        self._lower, self._share = lower.tolist(), share.tolist()
        self._slices: list[_Slice] = []  # the last one or two that arrived
        self._arrived = 0
        self._next = 0

    def add(self, scores: Tensor, extras: Tensor | None = None) -> None:
        """The network grid's next slices.

        Args:
            scores: (n, C, I', J') float32, on any device.
            extras: (n, num_extras, I', J') in [0, 1].
        """
        for index in range(len(scores)):
            plane = scores[index]
            extra = extras[index] if extras is not None else None
            before = [s.on(plane.device) for s in self._slices[-1:]]
            self._slices = [*before, _Slice(plane, self._decide(plane), extra)]
            self._arrived += 1
            self._fill()

    def clear_outside(self, box: Crop) -> None:
        """Make background, and 0, of all that lies outside a box of the RAS-ordered native array."""
        inner = tuple(
            slice(max(part.start - crop.start, 0), max(part.stop - crop.start, 0))
            for part, crop in zip(box, self._crop, strict=True)
        )
        for array in (self._classes_ras, *self._extras_ras):
            kept = array[inner].copy()
            array[:] = 0
            array[inner] = kept

    def _fill(self) -> None:
        """Every voxel slice between the two network slices that arrived last."""
        below, above = self._slices[0], self._slices[-1]
        first = self._arrived - len(self._slices)
        pair = _Pair(below, above, self._rows, self._columns)
        while self._next < len(self._lower) and self._lower[self._next] == first and self._reached(first):
            share = self._share[self._next]
            self._classes_ras[:, :, self._next] = pair.classes(share, self._decide).cpu().numpy()
            for array, plane in zip(self._extras_ras, pair.extras(share), strict=True):
                array[:, :, self._next] = plane.cpu().numpy()
            self._next += 1

    def _reached(self, first: int) -> bool:
        return self._share[self._next] == 0.0 or self._arrived - 1 > first


@dataclass(frozen=True, eq=False)
class _Slice:
    scores: Tensor
    classes: Tensor
    extras: Tensor | None

    def on(self, device: torch.device) -> _Slice:
        """Where the next slice is: a GPU that fills up hands over to the CPU in mid-study."""
        if self.scores.device == device:
            return self
        extras = None if self.extras is None else self.extras.to(device)
        return _Slice(self.scores.to(device), self.classes.to(device), extras)


class _Pair:
    """Two neighbouring slices of the network grid, and what lies between them."""

    def __init__(
        self, below: _Slice, above: _Slice, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]
    ) -> None:
        self.below, self.above = below, above
        device = below.scores.device
        self.rows, self.row_share = (part.to(device) for part in rows)
        self.columns, self.column_share = (part.to(device) for part in columns)
        self._plane: Tensor | None = None
        self._border: _Border | None = None

    def classes(self, share: float, decide: Decide) -> Tensor:
        """(I, J) uint8 at ``share`` of the way from below to above."""
        if self._plane is None:
            self._plane, voxels = self._agreed()
            self._border = self._gathered(voxels) if len(voxels) else None
        if self._border is None:
            return self._plane
        plane = self._plane.clone()
        plane.view(-1)[self._border.voxels] = self._border.classes(share, decide)
        return plane

    def extras(self, share: float) -> list[Tensor]:
        """The further maps at that height, as bytes."""
        if self.below.extras is None or self.above.extras is None:
            return []
        maps = torch.lerp(self.below.extras, self.above.extras, share)
        rows = torch.lerp(maps[:, self.rows], maps[:, _next(self.rows, maps.shape[1])], self.row_share[:, None])
        both = torch.lerp(rows[..., self.columns], rows[..., _next(self.columns, maps.shape[2])], self.column_share)
        return list((both * 255.0).round_().clamp_(0, 255).to(torch.uint8))

    def _agreed(self) -> tuple[Tensor, Tensor]:
        """The class of the nearest network voxel below, and the voxels (flat) whose eight neighbours do not agree."""
        classes, changes = self.below.classes, self.below.classes != self.above.classes
        down = _shifted(classes, 0)
        differs = (classes != down) | (classes != _shifted(classes, 1)) | (classes != _shifted(down, 1))
        changes |= _shifted(changes, 0)
        differs |= changes | _shifted(changes, 1)
        pick = (self.rows[:, None], self.columns)
        return classes[pick], differs[pick].flatten().nonzero().flatten()

    def _gathered(self, voxels: Tensor) -> _Border:
        """What is needed to interpolate voxels that are given by their place in the flat plane."""
        i, j = voxels // len(self.columns), voxels % len(self.columns)
        height, width = self.below.classes.shape
        upper, lower = self.rows[i] * width, _next(self.rows, height)[i] * width
        left, right = self.columns[j], _next(self.columns, width)[j]
        corners = torch.stack([upper + left, upper + right, lower + left, lower + right], dim=1)
        down, across = self.row_share[i], self.column_share[j]
        up, back = 1 - down, 1 - across
        shares = torch.stack([up * back, up * across, down * back, down * across], dim=1)
        used = torch.zeros(height * width, dtype=torch.bool, device=corners.device)
        used[corners.flatten()] = True
        taken = used.nonzero().flatten()
        below, above = (
            s.scores.reshape(len(s.scores), -1).index_select(1, taken).T.contiguous() for s in (self.below, self.above)
        )
        return _Border(voxels, (used.cumsum(0) - 1)[corners], shares, below, above)


@dataclass(frozen=True, eq=False)
class _Border:
    """Voxels that have to be interpolated, and the scores around them with the classes last.

    A voxel's sum over its corners then reads whole rows of memory: ten times as fast as a class at a time.
    """

    voxels: Tensor
    """(n,) places in the flat plane of the study."""
    corners: Tensor
    """(n, 4) rows of ``below`` and ``above``."""
    shares: Tensor
    """(n, 4) weights of the corners."""
    below: Tensor
    """(m, C) scores of the network voxels that are corners."""
    above: Tensor

    def classes(self, share: float, decide: Decide) -> Tensor:
        """(n,) uint8 at ``share`` of the way from below to above."""
        scores = torch.lerp(self.below, self.above, share)
        decided = []
        for corners, shares in zip(torch.split(self.corners, _POINTS), torch.split(self.shares, _POINTS), strict=True):
            sums = functional.embedding_bag(corners, scores, per_sample_weights=shares, mode="sum")
            decided.append(decide(sums, dim=1))
        return torch.cat(decided)


def _next(index: Tensor, length: int) -> Tensor:
    return (index + 1).clamp_(max=length - 1)


def _shifted(plane: Tensor, axis: int) -> Tensor:
    """Every entry's next one along an axis; the last keeps itself."""
    length = plane.shape[axis]
    return plane.index_select(axis, _next(torch.arange(length, device=plane.device), length))
