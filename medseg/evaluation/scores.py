"""Scores of one study: from arrays, or from two label files on one grid.

Rows are for the foreground labels; background counts in ``accuracy`` and ``miou``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from medseg.errors import ConfigError, GeometryError, LabelError
from medseg.metrics.overlap import Counts, OverlapScores, confusion, overlap_scores
from medseg.study.geometry import require_same_grid
from medseg.study.nifti import read_labels
from medseg.types import LabelMap

Empty = Literal["", "reference", "segmentation", "both"]
"""Which side lacks a label."""


@dataclass(frozen=True)
class Score:
    """One label of one study. A score is NaN where ``metrics.overlap`` says so.

    Attributes:
        study_id: the study.
        label: the class's name.
        dice: 0 to 1.
        iou: 0 to 1.
        precision: 0 to 1.
        recall: 0 to 1.
        reference_ml: volume of the label in the reference, without ignored voxels.
        segmentation_ml: volume of the label in the segmentation, without voxels that the reference ignores.
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
    reference_ml: float
    segmentation_ml: float
    reference_voxels: int
    segmentation_voxels: int
    empty: Empty


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
    """

    study_id: str
    rows: tuple[Score, ...]
    accuracy: float
    miou: float
    miou_foreground: float
    confusion: Counts

    @property
    def labels(self) -> tuple[str, ...]:
        """Foreground label names in class order."""
        return tuple(row.label for row in self.rows)


def score_arrays(
    study_id: str,
    reference: NDArray[Any],
    segmentation: NDArray[Any],
    class_names: Sequence[str],
    voxel_ml: float,
) -> StudyScores:
    """Score two label maps on one grid.

    Args:
        study_id: named in the rows and in errors.
        reference: (I, J, K) uint8 class indices; ``IGNORE_INDEX`` voxels count nowhere.
        segmentation: (I, J, K) uint8 class indices.
        class_names: foreground names, class 1 first.
        voxel_ml: volume of a voxel in millilitres.

    Raises:
        GeometryError: the shapes differ.
        LabelError: a value that is no class.
    """
    if reference.shape != segmentation.shape:
        raise GeometryError(
            f"{study_id}: expected a segmentation of the reference's shape {reference.shape}, "
            f"found {segmentation.shape}"
        )
    try:
        matrix = confusion(reference, segmentation, len(class_names) + 1)
    except ValueError as error:
        raise LabelError(f"{study_id}: {error}") from error
    scores = overlap_scores(matrix)
    rows = tuple(_row(study_id, name, scores, index, voxel_ml) for index, name in enumerate(class_names, start=1))
    return StudyScores(study_id, rows, scores.accuracy, scores.miou, scores.miou_foreground, matrix)


def score_files(
    study_id: str, reference_path: Path, segmentation_path: Path, reference_map: LabelMap, segmentation_map: LabelMap
) -> StudyScores:
    """Score a segmentation file against a reference file.

    Args:
        study_id: named in the rows and in errors.
        reference_path: label file.
        segmentation_path: label file on the same grid.
        reference_map: how the reference's values become classes.
        segmentation_map: the same classes from the segmentation's values. Its ``ignore`` is not used: a segmentation
            does not choose where it is scored, so such values are values that nothing names.

    Raises:
        ConfigError: the two maps name different classes.
        StudyError: a file cannot be read, the grids differ, or a value is no class.
    """
    names = reference_map.names
    if set(names) != set(segmentation_map.names):
        raise ConfigError(
            f"expected the same classes for both, found {', '.join(names)} for the reference and "
            f"{', '.join(segmentation_map.names)} for the segmentation"
        )
    segmentation_map = replace(segmentation_map, classes={n: segmentation_map.classes[n] for n in names}, ignore=())
    reference = read_labels(reference_path, reference_map, study_id)
    segmentation = read_labels(segmentation_path, segmentation_map, study_id)
    require_same_grid(reference.grid, segmentation.grid, f"{study_id}: reference and segmentation")
    return score_arrays(study_id, reference.voxels, segmentation.voxels, names, reference.grid.voxel_ml)


def _row(study_id: str, label: str, scores: OverlapScores, index: int, voxel_ml: float) -> Score:
    reference, segmentation = int(scores.reference_voxels[index]), int(scores.segmentation_voxels[index])
    return Score(
        study_id=study_id,
        label=label,
        dice=float(scores.dice[index]),
        iou=float(scores.iou[index]),
        precision=float(scores.precision[index]),
        recall=float(scores.recall[index]),
        reference_ml=reference * voxel_ml,
        segmentation_ml=segmentation * voxel_ml,
        reference_voxels=reference,
        segmentation_voxels=segmentation,
        empty=_empty(reference, segmentation),
    )


def _empty(reference_voxels: int, segmentation_voxels: int) -> Empty:
    if reference_voxels:
        return "" if segmentation_voxels else "segmentation"
    return "reference" if segmentation_voxels else "both"
