"""Which lesions were found: the reference's lesions and the segmentation's, matched one to one.

A lesion is a 26-connected component (``metrics.lesions``). Two may be partners if their IoU is ``min_overlap`` or more.
Each has at most one partner: as many pairs as possible are made, and of all ways to make so many, the one with the
largest total IoU. So one blob over two lesions finds one of them, and one of two halves of a lesion is false.

    true positives   reference lesions with a partner    sensitivity  TP / (TP + FN)
    false negatives  reference lesions without one       precision    TP / (TP + FP)
    false positives  segmentation's lesions without one  F1           2 TP / (2 TP + FP + FN)

0 / 0 is NaN: no reference lesion leaves the sensitivity undefined, no lesion in the segmentation the precision, neither
all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from medseg.metrics.boxes import class_boxes, united
from medseg.metrics.lesions import Lesion, lesion_components, measure_lesions
from medseg.types import Affine

_Pairs = dict[tuple[int, int], float]


@dataclass(frozen=True)
class LesionMatch:
    """One lesion of one side.

    Attributes:
        index: 1 for the largest of its side.
        volume_ml: millilitres.
        longest_diameter_mm: between outer corners of its voxels, as ``metrics.lesions`` measures it.
        centre_mm: mean of its voxel centres in world millimetres, RAS+.
        partner: index of its partner on the other side; 0 for none.
        overlap: IoU with the partner; 0 for none.
        dice: Dice with the partner; 0 for none.
    """

    index: int
    volume_ml: float
    longest_diameter_mm: float
    centre_mm: tuple[float, float, float]
    partner: int = 0
    overlap: float = 0.0
    dice: float = 0.0


@dataclass(frozen=True)
class Detection:
    """All lesions of both sides, each side's largest first; the module says how they are counted.

    Attributes:
        reference: the reference's.
        segmentation: the segmentation's.
    """

    reference: tuple[LesionMatch, ...]
    segmentation: tuple[LesionMatch, ...]

    @property
    def true_positives(self) -> int:
        """Reference lesions with a partner, and so the segmentation's with one."""
        return sum(lesion.partner > 0 for lesion in self.reference)

    @property
    def false_negatives(self) -> int:
        """Reference lesions without a partner."""
        return len(self.reference) - self.true_positives

    @property
    def false_positives(self) -> int:
        """Lesions of the segmentation without a partner."""
        return len(self.segmentation) - self.true_positives

    @property
    def sensitivity(self) -> float:
        """TP / (TP + FN); NaN without a reference lesion."""
        return _ratio(self.true_positives, len(self.reference))

    @property
    def precision(self) -> float:
        """TP / (TP + FP); NaN without a lesion in the segmentation."""
        return _ratio(self.true_positives, len(self.segmentation))

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); NaN without any lesion."""
        return _ratio(2 * self.true_positives, len(self.reference) + len(self.segmentation))

    @property
    def mean_dice(self) -> float:
        """Mean over the reference lesions of the Dice with the partner, 0 for missed ones; NaN without any."""
        return _ratio(sum(lesion.dice for lesion in self.reference), len(self.reference))


def match_lesions(
    reference_mask: NDArray[Any], segmentation_mask: NDArray[Any], affine: Affine, min_overlap: float = 0.1
) -> Detection:
    """Find, measure and match the lesions of two masks.

    Args:
        reference_mask: (I, J, K) bool, or integers of which all but 0 belong.
        segmentation_mask: the same grid; take out what the reference ignores before.
        affine: (4, 4) voxel -> world millimetres.
        min_overlap: IoU that makes partners, above 0, at most 1. 0.1 is low on purpose: it says whether a lesion was
            found, not how well; ``dice`` says that.

    Returns:
        No lesions for empty masks.

    Raises:
        ValueError: masks of different shapes or not of three axes, or a ``min_overlap`` out of range.
    """
    if reference_mask.shape != segmentation_mask.shape or reference_mask.ndim != 3:
        raise ValueError(
            f"expected masks (I, J, K) of one shape, found {reference_mask.shape} and {segmentation_mask.shape}"
        )
    if not 0 < min_overlap <= 1:
        raise ValueError(f"expected a min_overlap above 0 and at most 1, found {min_overlap}")
    masks = [np.asarray(mask, dtype=bool) for mask in (reference_mask, segmentation_mask)]
    box = united(*(class_boxes(mask.view(np.uint8), 1)[0] for mask in masks))
    if box is None:
        return Detection((), ())
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, :3] @ [axis.start for axis in box]
    components = [lesion_components(mask[box]) for mask in masks]
    lesions = [measure_lesions(side, shifted, limit=None).lesions for side in components]
    overlaps = {pair: iou for pair, iou in _overlaps(*components).items() if iou >= min_overlap}
    pairs = {(r, s): overlaps[r, s] for r, s in _partners(overlaps)}
    partners = {r: (s, iou) for (r, s), iou in pairs.items()}, {s: (r, iou) for (r, s), iou in pairs.items()}
    sides = (
        tuple(_match(x, *p.get(x.index, (0, 0.0))) for x in side) for side, p in zip(lesions, partners, strict=True)
    )
    return Detection(*sides)


def _overlaps(reference: NDArray[np.int32], segmentation: NDArray[np.int32]) -> _Pairs:
    """IoU of all lesions that share voxels, by their indices."""
    sizes = [np.bincount(side.ravel()) for side in (reference, segmentation)]
    both = (reference > 0) & (segmentation > 0)
    base = sizes[1].size
    pairs, shared = np.unique(reference[both] * np.int64(base) + segmentation[both], return_counts=True)
    first, second = np.divmod(pairs, base)
    iou = shared / (sizes[0][first] + sizes[1][second] - shared)
    return {(int(r), int(s)): float(value) for r, s, value in zip(first, second, iou, strict=True)}


def _partners(overlaps: _Pairs) -> Iterator[tuple[int, int]]:
    """The most pairs, and of those the largest total IoU."""
    if not overlaps:
        return
    reference, segmentation = np.array(list(overlaps)).T
    # Lesions that overlap directly or through others are a small problem of their own, of a few lesions as a rule.
    first = segmentation.max() + 1
    count = first + reference.max() + 1
    linked = sparse.coo_array((np.ones(reference.size), (first + reference, segmentation)), shape=(count, count))
    groups = sparse.csgraph.connected_components(linked, directed=False)[1][segmentation]
    for group in np.unique(groups):
        rows, row = np.unique(reference[groups == group], return_inverse=True)
        columns, column = np.unique(segmentation[groups == group], return_inverse=True)
        iou = np.zeros((rows.size, columns.size))
        iou[row, column] = [overlaps[int(rows[r]), int(columns[c])] for r, c in zip(row, column, strict=True)]
        # A pair more is worth more than all IoU there could be.
        worth = np.where(iou > 0, iou + min(iou.shape) + 1, 0.0)
        chosen = zip(*linear_sum_assignment(worth, maximize=True), strict=True)
        yield from ((int(rows[r]), int(columns[c])) for r, c in chosen if iou[r, c] > 0)


def _match(lesion: Lesion, partner: int, overlap: float) -> LesionMatch:
    return LesionMatch(
        index=lesion.index,
        volume_ml=lesion.volume_ml,
        longest_diameter_mm=lesion.longest_diameter_mm,
        centre_mm=lesion.centre_mm,
        partner=partner,
        overlap=overlap,
        dice=2 * overlap / (1 + overlap),
    )


def _ratio(numerator: float, denominator: int) -> float:
    return numerator / denominator if denominator else float("nan")
