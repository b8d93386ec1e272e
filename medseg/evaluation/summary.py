"""Scores of many studies in a few numbers: by label, and over all labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medseg.evaluation.lesions import LesionSummary, summarise_lesions
from medseg.evaluation.scores import Empty, Score, StudyScores
from medseg.evaluation.spread import Spread, Worst
from medseg.metrics.overlap import dataset_overlap, mean_defined

WORST: dict[str, Worst] = {
    "dice": "lowest",
    "iou": "lowest",
    "precision": "lowest",
    "recall": "lowest",
    "specificity": "lowest",
    "reference_ml": "",
    "segmentation_ml": "",
    "volume_difference_ml": "farthest",
    "relative_volume_difference": "farthest",
    "absolute_volume_difference_ml": "highest",
    "ravd": "highest",
    "hd_mm": "highest",
    "hd95_mm": "highest",
    "assd_mm": "highest",
    "nsd": "lowest",
    "reference_lesions": "",
    "segmentation_lesions": "",
    "detected_lesions": "",
    "false_positive_lesions": "highest",
    "lesion_sensitivity": "lowest",
    "lesion_precision": "lowest",
    "lesion_f1": "lowest",
    "lesion_dice": "lowest",
}
"""The numbers of a row that are summarised, by field name, and which of their values is the worst."""


@dataclass(frozen=True)
class Summary:
    """One label over all studies.

    Attributes:
        label: the class's name.
        n: studies scored.
        n_empty_both: studies in which both sides lack the label; they count in no mean, unless
            ``ScoringOptions.empty_as`` says otherwise.
        n_empty_reference: studies in which only the reference lacks it; their overlap and NSD count as 0.
        n_empty_segmentation: studies in which only the segmentation lacks it; they count the same.
        dataset_iou: IoU of all studies' voxels put together.
        spreads: the numbers of ``WORST`` over the studies, by field name; one that was not asked for has n 0.
        tolerance_mm: of NSD; NaN if surfaces were not scored, or at several tolerances.
        lesions: None if the label was not scored by its lesions.
    """

    label: str
    n: int
    n_empty_both: int
    n_empty_reference: int
    n_empty_segmentation: int
    dataset_iou: float
    spreads: Mapping[str, Spread]
    tolerance_mm: float = math.nan
    lesions: LesionSummary | None = None

    @property
    def dice(self) -> Spread:
        """Dice over the studies."""
        return self.spreads["dice"]

    @property
    def iou(self) -> Spread:
        """IoU over the studies."""
        return self.spreads["iou"]


@dataclass(frozen=True)
class Overall:
    """All labels over all studies; NaN without studies.

    Attributes:
        n: studies scored.
        accuracy: mean over studies of the share of voxels with the right class.
        miou: mean over studies of the mean IoU, background included.
        miou_foreground: the same without background.
        dataset_miou: mean over classes of the IoU of all studies' voxels put together, background included.
        dataset_miou_foreground: the same without background.
        fw_iou: mean over studies of the frequency-weighted IoU.
        dataset_fw_iou: the frequency-weighted IoU of all studies' voxels put together.
    """

    n: int
    accuracy: float
    miou: float
    miou_foreground: float
    dataset_miou: float
    dataset_miou_foreground: float
    fw_iou: float = math.nan
    dataset_fw_iou: float = math.nan


def summarise(scores: Sequence[StudyScores]) -> list[Summary]:
    """Summarise each label over the studies, in class order; no studies give no summaries.

    Raises:
        ValueError: studies scored with different labels, or a study_id twice.
    """
    if not scores:
        return []
    _require_one_table(scores)
    dataset_iou = dataset_overlap(study.confusion for study in scores).iou
    return [_summary(scores, index, float(dataset_iou[index + 1])) for index in range(len(scores[0].rows))]


def overall(scores: Sequence[StudyScores]) -> Overall:
    """Average accuracy and mean IoU over the studies.

    Raises:
        ValueError: studies scored with different labels, or a study_id twice.
    """
    if not scores:
        return Overall(0, math.nan, math.nan, math.nan, math.nan, math.nan)
    _require_one_table(scores)
    dataset = dataset_overlap(study.confusion for study in scores)
    return Overall(
        n=len(scores),
        accuracy=mean_defined(study.accuracy for study in scores),
        miou=mean_defined(study.miou for study in scores),
        miou_foreground=mean_defined(study.miou_foreground for study in scores),
        dataset_miou=dataset.miou,
        dataset_miou_foreground=dataset.miou_foreground,
        fw_iou=mean_defined(study.fw_iou for study in scores),
        dataset_fw_iou=dataset.fw_iou,
    )


def _require_one_table(scores: Sequence[StudyScores]) -> None:
    labels = {study.labels for study in scores}
    if len(labels) > 1:
        raise ValueError(f"expected studies scored with the same labels, found {sorted(labels)}")
    if len({study.study_id for study in scores}) < len(scores):
        raise ValueError("expected each study_id once, found one twice")


def _summary(scores: Sequence[StudyScores], index: int, dataset_iou: float) -> Summary:
    rows = [study.rows[index] for study in scores]

    def count(empty: Empty) -> int:
        return sum(row.empty == empty for row in rows)

    return Summary(
        label=rows[0].label,
        n=len(rows),
        n_empty_both=count("both"),
        n_empty_reference=count("reference"),
        n_empty_segmentation=count("segmentation"),
        dataset_iou=dataset_iou,
        spreads={name: _spread(rows, name, worst) for name, worst in WORST.items()},
        tolerance_mm=_only({row.tolerance_mm for row in rows if not math.isnan(row.tolerance_mm)}),
        lesions=summarise_lesions(scores, rows[0].label),
    )


def _spread(rows: Sequence[Score], name: str, worst: Worst) -> Spread:
    values = {row.study_id: getattr(row, name) for row in rows}
    return Spread.of({study_id: math.nan if value is None else value for study_id, value in values.items()}, worst)


def _only(values: set[float]) -> float:
    return values.pop() if len(values) == 1 else math.nan
