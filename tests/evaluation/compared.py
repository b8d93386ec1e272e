"""Evaluations made of nothing but scores, for the tests of comparisons."""

from collections.abc import Mapping

import numpy as np

from medseg.evaluation.results import Evaluation, Failure
from medseg.evaluation.scores import Score, StudyScores


def evaluation(
    scores: Mapping[str, Mapping[str, float]], failed: tuple[str, ...] = (), score: str = "dice"
) -> Evaluation:
    """Of study_id -> label -> score; all other scores are 0.5."""
    studies = []
    for study_id, by_label in scores.items():
        rows = tuple(_row(study_id, label, {score: value}) for label, value in by_label.items())
        confusion = np.zeros((len(rows) + 1, len(rows) + 1), dtype=np.int64)
        studies.append(StudyScores(study_id, rows, 0.9, 0.8, 0.7, confusion))
    return Evaluation(tuple(studies), tuple(Failure(study_id, "broken") for study_id in failed))


def of_liver(*dice: float, score: str = "dice") -> Evaluation:
    """Studies a, b, c ... with the liver alone."""
    return evaluation({chr(ord("a") + index): {"liver": value} for index, value in enumerate(dice)}, score=score)


def _row(study_id: str, label: str, score: Mapping[str, float]) -> Score:
    shares = dict.fromkeys(("dice", "iou", "precision", "recall"), 0.5)
    rest = {"reference_ml": 1.0, "segmentation_ml": 1.0, "reference_voxels": 10, "segmentation_voxels": 10, "empty": ""}
    known = {"study_id": study_id, "label": label, **shares, **rest}
    here = {name: value for name, value in score.items() if name in Score.__dataclass_fields__}
    row = Score(**{**known, **here})
    for name in score.keys() - here.keys():  # a score that later versions have
        object.__setattr__(row, name, score[name])
    return row
