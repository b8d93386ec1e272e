"""Scores of one study, from two label maps on one grid: a row for each foreground label.

Background counts in ``accuracy``, ``miou`` and ``fw_iou``. What is NaN, and where, is decided in ``metrics.overlap``,
``metrics.surface`` and ``metrics.detection``; ``ScoringOptions.empty_as`` replaces it where both sides lack a label.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryError, LabelError
from medseg.evaluation.options import DEFAULT_OPTIONS, ScoringOptions
from medseg.metrics.detection import Detection, LesionMatch, match_lesions
from medseg.metrics.overlap import Counts, OverlapScores, confusion, overlap_scores
from medseg.metrics.surface import SurfaceScores, label_surface_scores
from medseg.types import IGNORE_INDEX, Affine, Grid

Empty = Literal["", "reference", "segmentation", "both"]
"""Which side lacks a label."""

Side = Literal["reference", "segmentation"]


@dataclass(frozen=True, kw_only=True)
class Score:
    """One label of one study. NaN is undefined, and None is not asked for.

    Attributes:
        study_id: the study.
        label: the class's name.
        dice: 0 to 1.
        iou: 0 to 1.
        precision: 0 to 1.
        recall: 0 to 1.
        specificity: 0 to 1; near 1 wherever the label is small beside the volume.
        reference_ml: volume of the label in the reference, without ignored voxels.
        segmentation_ml: volume of the label in the segmentation, without voxels that the reference ignores.
        volume_difference_ml: segmentation minus reference.
        relative_volume_difference: that as a share of the reference; NaN if the reference lacks the label.
        absolute_volume_difference_ml: the difference without its sign.
        ravd: the share without its sign (relative absolute volume difference).
        hd_mm: Hausdorff distance; NaN if a side has no surface, and without ``ScoringOptions.surface``.
        hd95_mm: 95th percentile of the distances.
        assd_mm: average symmetric surface distance.
        nsd: normalised surface distance (surface Dice) at ``tolerance_mm``, 0 to 1.
        tolerance_mm: of ``nsd``; NaN if surfaces were not scored.
        reference_lesions: lesions in the reference; None if the label is not scored by lesions.
        segmentation_lesions: lesions in the segmentation.
        detected_lesions: lesions of the reference with a partner in the segmentation.
        false_positive_lesions: lesions of the segmentation without one.
        lesion_sensitivity: share of the reference's lesions that were found; NaN if it has none.
        lesion_precision: share of the segmentation's lesions that are one; NaN if it has none.
        lesion_f1: of both; NaN if neither side has a lesion.
        lesion_dice: mean Dice over the reference's lesions, 0 for a missed one; NaN if it has none.
        reference_voxels: ``reference_ml`` in voxels.
        segmentation_voxels: ``segmentation_ml`` in voxels.
        empty: which side lacks the label; "" if neither does.
    """

    study_id: str
    label: str
    dice: float
    iou: float
    precision: float
    recall: float
    specificity: float = math.nan
    reference_ml: float
    segmentation_ml: float
    volume_difference_ml: float = math.nan
    relative_volume_difference: float = math.nan
    absolute_volume_difference_ml: float = math.nan
    ravd: float = math.nan
    hd_mm: float = math.nan
    hd95_mm: float = math.nan
    assd_mm: float = math.nan
    nsd: float = math.nan
    tolerance_mm: float = math.nan
    reference_lesions: int | None = None
    segmentation_lesions: int | None = None
    detected_lesions: int | None = None
    false_positive_lesions: int | None = None
    lesion_sensitivity: float = math.nan
    lesion_precision: float = math.nan
    lesion_f1: float = math.nan
    lesion_dice: float = math.nan
    reference_voxels: int
    segmentation_voxels: int
    empty: Empty


@dataclass(frozen=True)
class LesionRow:
    """One lesion of one side.

    Attributes:
        study_id: the study.
        label: the class's name.
        side: which label map it lies in.
        index: 1 for the largest of its side.
        volume_ml: its volume.
        longest_diameter_mm: as in ``metrics.lesions``.
        centre_mm: world millimetres, RAS+.
        partner: ``index`` on the other side; 0 if it has none there: missed, or a false positive.
        overlap: IoU with the partner; 0 without one.
        dice: Dice with the partner; 0 without one.
    """

    study_id: str
    label: str
    side: Side
    index: int
    volume_ml: float
    longest_diameter_mm: float
    centre_mm: tuple[float, float, float]
    partner: int
    overlap: float
    dice: float


@dataclass(frozen=True, eq=False)
class StudyScores:
    """All scores of one study.

    Attributes:
        study_id: the study.
        rows: one a foreground label, in class order.
        accuracy: share of voxels with the right class, background included.
        miou: mean IoU over the classes, background included.
        miou_foreground: mean IoU over the foreground labels.
        confusion: (num_classes, num_classes) voxels; rows the reference, columns the segmentation, background first.
        fw_iou: frequency-weighted IoU, background included.
        lesions: of both sides, for the labels that are scored by lesions.
        note: what was done to the segmentation before it was scored, such as resampling; "" for nothing.
    """

    study_id: str
    rows: tuple[Score, ...]
    accuracy: float
    miou: float
    miou_foreground: float
    confusion: Counts
    fw_iou: float = math.nan
    lesions: tuple[LesionRow, ...] = ()
    note: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Foreground label names in class order."""
        return tuple(row.label for row in self.rows)


def score_arrays(
    study_id: str,
    reference: NDArray[Any],
    segmentation: NDArray[Any],
    class_names: Sequence[str],
    affine: Affine,
    options: ScoringOptions = DEFAULT_OPTIONS,
    *,
    note: str = "",
) -> StudyScores:
    """Score two label maps on one grid.

    Args:
        study_id: named in the rows and in errors.
        reference: (I, J, K) uint8 class indices; ``IGNORE_INDEX`` voxels count nowhere.
        segmentation: (I, J, K) uint8 class indices.
        class_names: foreground names, class 1 first.
        affine: (4, 4) of their grid.
        options: what to score beside the overlap.
        note: becomes the result's.

    Raises:
        ConfigError: the options name a label that is none.
        GeometryError: the shapes differ.
        LabelError: a value that is no class.
    """
    options.require(class_names)
    if reference.shape != segmentation.shape:
        raise GeometryError(
            f"{study_id}: expected a segmentation of the reference's shape {reference.shape}, "
            f"found {segmentation.shape}"
        )
    try:
        matrix = confusion(reference, segmentation, len(class_names) + 1)
    except ValueError as error:
        raise LabelError(f"{study_id}: {error}") from error
    overlap = overlap_scores(matrix)
    surfaces = _surfaces(reference, segmentation, class_names, affine, options)
    detections = {
        name: match_lesions(*_masks(reference, segmentation, class_names.index(name) + 1), affine, options.min_overlap)
        for name in options.lesions
    }
    voxel_ml = Grid((1, 1, 1), affine).voxel_ml
    return StudyScores(
        study_id=study_id,
        rows=tuple(
            Score(
                study_id=study_id,
                label=name,
                **_overlap(overlap, index, voxel_ml, options),
                **_surface(surfaces, index, overlap, options.tolerances_mm(class_names), options),
                **_detection(detections.get(name)),
            )
            for index, name in enumerate(class_names, start=1)
        ),
        accuracy=overlap.accuracy,
        miou=overlap.miou,
        miou_foreground=overlap.miou_foreground,
        fw_iou=overlap.fw_iou,
        confusion=matrix,
        lesions=tuple(row for name, detection in detections.items() for row in _lesions(study_id, name, detection)),
        note=note,
    )


def _surfaces(
    reference: NDArray[Any],
    segmentation: NDArray[Any],
    class_names: Sequence[str],
    affine: Affine,
    options: ScoringOptions,
) -> list[SurfaceScores]:
    if not options.surface:
        return []
    tolerances = options.tolerances_mm(class_names)
    return label_surface_scores(
        reference, segmentation, len(class_names) + 1, affine, tolerances, definition=options.definition
    )


def _masks(
    reference: NDArray[Any], segmentation: NDArray[Any], index: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    own = segmentation == index
    own &= reference != IGNORE_INDEX
    return reference == index, own


def _overlap(scores: OverlapScores, index: int, voxel_ml: float, options: ScoringOptions) -> dict[str, Any]:
    reference, segmentation = int(scores.reference_voxels[index]), int(scores.segmentation_voxels[index])
    difference, share = (segmentation - reference) * voxel_ml, math.nan
    if reference:
        share = (segmentation - reference) / reference
    empty = _empty(reference, segmentation)
    shares = {name: float(getattr(scores, name)[index]) for name in ("dice", "iou", "precision", "recall")}
    if empty == "both":
        shares = dict.fromkeys(shares, _of_nothing(options))
    return {
        **shares,
        "specificity": float(scores.specificity[index]),
        "reference_ml": reference * voxel_ml,
        "segmentation_ml": segmentation * voxel_ml,
        "volume_difference_ml": difference,
        "relative_volume_difference": share,
        "absolute_volume_difference_ml": abs(difference),
        "ravd": abs(share),
        "reference_voxels": reference,
        "segmentation_voxels": segmentation,
        "empty": empty,
    }


def _surface(
    surfaces: Sequence[SurfaceScores],
    index: int,
    overlap: OverlapScores,
    tolerances_mm: Sequence[float],
    options: ScoringOptions,
) -> dict[str, Any]:
    if not surfaces:
        return {}
    surface = surfaces[index - 1]
    scores = {"hd_mm": surface.hd_mm, "hd95_mm": surface.hd95_mm, "assd_mm": surface.assd_mm, "nsd": surface.nsd}
    if not overlap.reference_voxels[index] and not overlap.segmentation_voxels[index]:
        scores = dict.fromkeys(scores, 0.0 if options.empty_as == "one" else math.nan) | {"nsd": _of_nothing(options)}
    return scores | {"tolerance_mm": tolerances_mm[index - 1]}


def _of_nothing(options: ScoringOptions) -> float:
    return {"nan": math.nan, "zero": 0.0, "one": 1.0}[options.empty_as]


def _detection(detection: Detection | None) -> dict[str, Any]:
    if detection is None:
        return {}
    return {
        "reference_lesions": len(detection.reference),
        "segmentation_lesions": len(detection.segmentation),
        "detected_lesions": detection.true_positives,
        "false_positive_lesions": detection.false_positives,
        "lesion_sensitivity": detection.sensitivity,
        "lesion_precision": detection.precision,
        "lesion_f1": detection.f1,
        "lesion_dice": detection.mean_dice,
    }


def _lesions(study_id: str, label: str, detection: Detection) -> Iterator[LesionRow]:
    sides: tuple[tuple[Side, tuple[LesionMatch, ...]], ...] = (
        ("reference", detection.reference),
        ("segmentation", detection.segmentation),
    )
    for side, lesions in sides:
        for lesion in lesions:
            yield LesionRow(study_id=study_id, label=label, side=side, **asdict(lesion))


def _empty(reference_voxels: int, segmentation_voxels: int) -> Empty:
    if reference_voxels:
        return "" if segmentation_voxels else "segmentation"
    return "reference" if segmentation_voxels else "both"
