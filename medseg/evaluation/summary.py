"""Scores of many studies in a few numbers: by label, and over all labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.evaluation.scores import Empty, StudyScores
from medseg.metrics.overlap import dataset_overlap, mean_defined


@dataclass(frozen=True)
class Spread:
    """How one score lies over the studies in which it is defined; NaN, and no worst study, if there is none.

    Attributes:
        n: studies that count.
        mean: arithmetic mean.
        sd: sample standard deviation (n - 1 below the line); NaN for a single study.
        median: middle value.
        min: lowest value.
        max: highest value.
        worst: study_id of the lowest value, the first of equals.
    """

    n: int
    mean: float
    sd: float
    median: float
    min: float
    max: float
    worst: str

    @classmethod
    def of(cls, values: Mapping[str, float]) -> Spread:
        """Spread of study_id -> value; NaN values are left out."""
        defined = {study_id: value for study_id, value in values.items() if not math.isnan(value)}
        if not defined:
            return cls(0, math.nan, math.nan, math.nan, math.nan, math.nan, "")
        array = np.array(list(defined.values()))
        return cls(
            n=array.size,
            mean=float(array.mean()),
            sd=float(array.std(ddof=1)) if array.size > 1 else math.nan,
            median=float(np.median(array)),
            min=float(array.min()),
            max=float(array.max()),
            worst=min(defined, key=lambda study_id: defined[study_id]),
        )


@dataclass(frozen=True)
class Summary:
    """One label over all studies.

    Attributes:
        label: the class's name.
        n: studies scored.
        n_empty_both: studies in which both sides lack the label; they count in no mean.
        n_empty_reference: studies in which only the reference lacks it; they count as 0.
        n_empty_segmentation: studies in which only the segmentation lacks it; they count as 0.
        dice: spread over studies.
        iou: spread over studies.
        dataset_iou: IoU of all studies' voxels put together.
    """

    label: str
    n: int
    n_empty_both: int
    n_empty_reference: int
    n_empty_segmentation: int
    dice: Spread
    iou: Spread
    dataset_iou: float


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
    """

    n: int
    accuracy: float
    miou: float
    miou_foreground: float
    dataset_miou: float
    dataset_miou_foreground: float


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
        dice=Spread.of({row.study_id: row.dice for row in rows}),
        iou=Spread.of({row.study_id: row.iou for row in rows}),
        dataset_iou=dataset_iou,
    )
