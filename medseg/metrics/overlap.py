"""Voxel overlap of a reference and a segmentation, all of it from one confusion matrix.

With, for one class, TP the voxels that both name, REF the voxels of the reference, SEG those of the segmentation:

    Dice = 2 TP / (REF + SEG)     IoU = TP / (REF + SEG - TP)     precision = TP / SEG     recall = TP / REF

and, with TN the voxels that neither names and FP those that only the segmentation does, specificity = TN / (TN + FP).
It hardly moves for a small structure in a large volume, whose TN are nearly all voxels.

Voxels that the reference ignores are in none of them. The empty cases, decided here for the whole package:

    empty             Dice  IoU   precision  recall
    both              NaN   NaN   NaN        NaN      excluded from every mean, and counted
    reference only    0     0     0          NaN      nothing to find, something was marked
    segmentation only 0     0     NaN        0        something to find, nothing was marked

Specificity needs no voxel of the class: it is NaN only where the reference has the class everywhere.

A mean leaves NaN out; a mean of nothing is NaN. Per class Dice = 2 IoU / (1 + IoU); this holds for no mean of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.types import IGNORE_INDEX

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_SLAB_VOXELS = 1 << 20
"""Voxels counted at a time: a few tens of MB at most beside the two arrays, whatever their size."""

_BYTE = 256
"""Values that a label map may hold; also the side of the table in which pairs are counted."""


@dataclass(frozen=True, eq=False)
class OverlapScores:
    """Scores of one confusion matrix; every array is (num_classes,), background first.

    Attributes:
        dice: 2 TP / (REF + SEG).
        iou: TP / (REF + SEG - TP), also called Jaccard index.
        precision: TP / SEG, also called positive predictive value.
        recall: TP / REF, also called sensitivity.
        specificity: TN / (TN + FP); NaN if every voxel of the reference is of the class.
        reference_voxels: voxels of each class in the reference.
        segmentation_voxels: voxels of each class in the segmentation.
        accuracy: share of voxels with the right class; NaN if no voxel counts.
        miou: mean IoU over the classes, background included.
        miou_foreground: mean IoU over the classes but background.
        fw_iou: frequency-weighted IoU (J. Long et al., arXiv:1411.4038): of every class, background included, weighted
            by its share of the reference's voxels; NaN if no voxel counts.
        num_empty: classes, background included, that both lack and that no mean counts.
    """

    dice: Floats
    iou: Floats
    precision: Floats
    recall: Floats
    specificity: Floats
    reference_voxels: Counts
    segmentation_voxels: Counts
    accuracy: float
    miou: float
    miou_foreground: float
    fw_iou: float
    num_empty: int


def confusion(
    reference: NDArray[Any], segmentation: NDArray[Any], num_classes: int, ignore_index: int = IGNORE_INDEX
) -> Counts:
    """Count every pair of reference and segmentation class in one pass over both arrays.

    Args:
        reference: class indices, integers in any shape; ``ignore_index`` marks voxels to leave out.
        segmentation: class indices of the same shape; ``ignore_index`` is no class of it.
        num_classes: classes including background, 1 to 255.
        ignore_index: value of the reference that is left out; a negative one leaves nothing out.

    Returns:
        (num_classes, num_classes): rows are the reference's classes, columns the segmentation's. Zeros for no voxels.

    Raises:
        ValueError: shapes differ, an array is not of integers, or holds a value outside [0, num_classes).
    """
    if reference.shape != segmentation.shape:
        raise ValueError(f"expected arrays of one shape, found {reference.shape} and {segmentation.shape}")
    if not 1 <= num_classes < _BYTE or 0 <= ignore_index < num_classes:
        raise ValueError(f"expected 1 to 255 classes and an ignore_index beside them: {num_classes}, {ignore_index}")
    pairs = np.zeros(_BYTE * _BYTE, dtype=np.int64)
    for slab in _slabs(reference):
        joint = _as_bytes(reference[slab], "the reference").astype(np.uint16) << 8
        joint |= _as_bytes(segmentation[slab], "the segmentation")
        pairs += np.bincount(joint.ravel(order="K"), minlength=_BYTE * _BYTE)
    table = pairs.reshape(_BYTE, _BYTE)
    if 0 <= ignore_index < _BYTE:
        table[ignore_index] = 0
    _require_classes(table.sum(axis=1), num_classes, "the reference")
    _require_classes(table.sum(axis=0), num_classes, "the segmentation")
    return table[:num_classes, :num_classes].copy()


def overlap_scores(confusion: Counts) -> OverlapScores:
    """Dice, IoU, precision, recall and specificity of each class, accuracy and mean IoU.

    Args:
        confusion: (num_classes, num_classes) voxel counts, rows the reference; see the module for the empty cases.

    Raises:
        ValueError: not a square matrix.
    """
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1] or not confusion.size:
        raise ValueError(f"expected a square confusion matrix, found shape {confusion.shape}")
    right, total = np.diagonal(confusion), int(confusion.sum())
    reference, segmentation = confusion.sum(axis=1), confusion.sum(axis=0)
    iou = _ratio(right, reference + segmentation - right)
    return OverlapScores(
        dice=_ratio(2 * right, reference + segmentation),
        iou=iou,
        precision=_ratio(right, segmentation),
        recall=_ratio(right, reference),
        specificity=_ratio(total - reference - segmentation + right, total - reference),
        reference_voxels=reference,
        segmentation_voxels=segmentation,
        accuracy=int(right.sum()) / total if total else float("nan"),
        miou=mean_defined(iou),
        miou_foreground=mean_defined(iou[1:]),
        fw_iou=float(np.nansum(iou * reference)) / total if total else float("nan"),
        num_empty=int(np.count_nonzero(reference + segmentation == 0)),
    )


def dataset_overlap(confusions: Iterable[Counts]) -> OverlapScores:
    """Scores of all studies' voxels put together, as PASCAL VOC and Cityscapes define mIoU.

    Large studies and large organs weigh more here; the mean over studies of ``overlap_scores`` is the medical habit.

    Raises:
        ValueError: no matrix, or matrices of different sizes.
    """
    matrices = list(confusions)
    if not matrices or len({matrix.shape for matrix in matrices}) > 1:
        raise ValueError(f"expected confusion matrices of one size, found {sorted({m.shape for m in matrices})}")
    return overlap_scores(np.sum(matrices, axis=0, dtype=np.int64))


def mean_defined(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN if there is none."""
    array = np.asarray(list(values), dtype=np.float64)
    defined = array[~np.isnan(array)]
    return float(defined.mean()) if defined.size else float("nan")


def _ratio(numerator: Counts, denominator: Counts) -> Floats:
    out = np.full(denominator.shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


def _slabs(array: NDArray[Any]) -> Iterator[tuple[slice, ...]]:
    # Cut along the axis with the longest stride: each slab is then one run of memory in C and in Fortran order
    # (nibabel's), and no cache line is read twice.
    if not array.ndim or not array.size:
        return
    axis = int(np.argmax(np.abs(array.strides)))
    length = array.shape[axis]
    step = max(1, _SLAB_VOXELS * length // array.size)
    for start in range(0, length, step):
        yield (slice(None),) * axis + (slice(start, start + step),)


def _as_bytes(slab: NDArray[Any], what: str) -> NDArray[np.uint8]:
    if slab.dtype == np.uint8:
        return slab
    if slab.dtype.kind not in "iub":
        raise ValueError(f"{what}: expected integers, found {slab.dtype}")
    low, high = int(slab.min()), int(slab.max())
    if low < 0 or high >= _BYTE:
        raise ValueError(f"{what}: expected class indices from 0 to 255, found {low} to {high}")
    return slab.astype(np.uint8)


def _require_classes(voxels: Counts, num_classes: int, what: str) -> None:
    unknown = np.flatnonzero(voxels[num_classes:]) + num_classes
    if unknown.size:
        values = ", ".join(str(value) for value in unknown[:10])
        raise ValueError(
            f"{what}: expected class indices from 0 to {num_classes - 1}, found {values}"
            f"{' and more' if unknown.size > 10 else ''} ({int(voxels[unknown].sum())} voxels)"
        )
