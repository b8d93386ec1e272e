"""Aggregates under stable names."""

import math

import numpy as np
import pytest

from medseg.evaluation.options import ScoringOptions
from medseg.evaluation.results import Evaluation, Failure
from medseg.evaluation.scores import StudyScores, score_arrays
from medseg.reports.review import aggregates
from medseg.types import Grid, LabelMap

GRID = Grid((8, 8, 4), np.diag([2.0, 2.0, 5.0, 1.0]))
LABELS = LabelMap({"liver": (1,), "tumour": (2,)})


ALWAYS = ("dice", "iou", "precision", "recall", "specificity", "volume_difference_ml", "absolute_volume_difference_ml")
ALWAYS += ("relative_volume_difference", "ravd")
SURFACES = ("nsd", "hd_mm", "hd95_mm", "assd_mm")
LESIONS = ("lesion_f1", "lesion_sensitivity", "lesion_precision", "lesion_dice", "false_positives_per_study")
OVERLAP = ScoringOptions(surface=False)


def _reference() -> np.ndarray:
    label = np.zeros(GRID.shape, np.uint8)
    label[1:5, 1:5, 1] = 1
    return label


def _segmentation(voxels: int) -> np.ndarray:
    """The first ``voxels`` of the reference's 16."""
    found = np.zeros(GRID.shape, np.uint8)
    found.ravel()[np.flatnonzero(_reference())[:voxels]] = 1
    return found


def _scores(study_id: str, voxels: int, options: ScoringOptions = OVERLAP) -> StudyScores:
    return score_arrays(study_id, _reference(), _segmentation(voxels), LABELS.names, GRID.affine, options)


def _evaluation() -> Evaluation:
    # Dice of 16, 8 and 4 of 16 voxels: 1, 16 / 24, 8 / 20
    scores = (_scores("a", 16), _scores("b", 8), _scores("c", 4))
    return Evaluation(scores, (Failure("d", "truncated"),))


def test_aggregates_have_the_numbers_of_the_studies_by_hand() -> None:
    metrics = aggregates(_evaluation(), "test")
    assert metrics["test/dice/liver"] == pytest.approx((1 + 2 / 3 + 0.4) / 3)
    assert metrics["test/dice_median/liver"] == pytest.approx(2 / 3)
    assert metrics["test/dice_sd/liver"] == pytest.approx(np.std([1, 2 / 3, 0.4], ddof=1))
    assert metrics["test/iou/liver"] == pytest.approx((1 + 0.5 + 0.25) / 3)
    assert metrics["test/accuracy"] == pytest.approx((256 + 248 + 244) / 3 / 256)
    assert (metrics["test/studies"], metrics["test/failed_studies"]) == (3.0, 1.0)


def test_aggregates_count_empty_labels_and_leave_their_scores_undefined() -> None:
    metrics = aggregates(_evaluation(), "validation")
    assert metrics["validation/empty_studies/liver"] == 0.0
    assert metrics["validation/empty_studies/tumour"] == 3.0
    assert math.isnan(metrics["validation/dice/tumour"])


def test_names_of_the_aggregates_are_stable() -> None:
    expected = {f"test/{s}{k}/{c}" for s in ALWAYS for k in ("", "_sd", "_median") for c in LABELS.names}
    expected |= {f"test/dice_{end}/{c}" for end in ("low", "high") for c in LABELS.names}
    expected |= {"test/empty_studies/liver", "test/empty_studies/tumour", "test/studies", "test/failed_studies"}
    expected |= {"test/accuracy", "test/miou", "test/miou_foreground", "test/fw_iou"}
    assert aggregates(_evaluation(), "test").keys() == expected
    options = ScoringOptions(lesions=("liver",))
    full = aggregates(Evaluation((_scores("a", 16, options),)), "test")
    expected |= {f"test/{s}{k}/{c}" for s in SURFACES for k in ("", "_sd", "_median") for c in LABELS.names}
    expected |= {f"test/{s}{k}/liver" for s in LESIONS for k in ("", "_sd", "_median")}
    assert full.keys() == expected


def test_aggregates_of_surfaces_and_lesions_are_means_over_the_studies() -> None:
    options = ScoringOptions(tolerance_mm={"liver": 7}, definition="voxels", lesions=("liver",))
    metrics = aggregates(Evaluation((_scores("a", 16, options), _scores("b", 1, options))), "test")
    # b marks a corner of 4 x 4 voxels of 2 mm: the far corner is 6 mm away along both axes, 13 voxels lie within 7 mm
    assert metrics["test/hd_mm/liver"] == pytest.approx(np.hypot(6, 6) / 2)
    assert metrics["test/nsd/liver"] == pytest.approx((1 + 14 / 17) / 2)
    # one lesion a study, found with IoU 1 and missed with IoU 1/16: a false one is left
    assert (metrics["test/lesion_sensitivity/liver"], metrics["test/lesion_f1/liver"]) == (0.5, 0.5)
    assert metrics["test/false_positives_per_study/liver"] == 0.5
    assert metrics["test/lesion_sensitivity_sd/liver"] == pytest.approx(np.sqrt(0.5))
    assert (metrics["test/dice_low/liver"], metrics["test/dice_high/liver"]) == (pytest.approx(2 / 17), 1.0)


def test_nothing_scored_gives_counts_only() -> None:
    metrics = aggregates(Evaluation((), (Failure("d", "truncated"),)), "test")
    assert (metrics["test/studies"], metrics["test/failed_studies"]) == (0.0, 1.0)
