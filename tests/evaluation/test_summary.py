import math
from dataclasses import fields

import numpy as np
import pytest

from medseg.evaluation.options import ScoringOptions
from medseg.evaluation.scores import Score, StudyScores, score_arrays
from medseg.evaluation.summary import WORST, overall, summarise

MILLILITRES = np.diag([10.0, 10.0, 10.0, 1.0])  # a voxel of 1 ml


def study(study_id: str, reference: list[int], segmentation: list[int], *names: str) -> StudyScores:
    arrays = (np.array(values, dtype=np.uint8).reshape(-1, 1, 1) for values in (reference, segmentation))
    return score_arrays(study_id, *arrays, names or ("liver",), MILLILITRES)


HALF = study("half", [0, 1, 1, 0], [0, 1, 0, 1])  # Dice 1/2, IoU 1/3
FULL = study("full", [0, 1, 1, 1], [0, 1, 1, 1])  # Dice 1, IoU 1
MISSED = study("missed", [0, 1, 1, 1], [0, 0, 0, 0])  # Dice 0, IoU 0
INVENTED = study("invented", [0, 0, 0, 0], [0, 0, 0, 1])  # Dice 0, IoU 0
NOTHING = study("nothing", [0, 0, 0, 0], [0, 0, 0, 0])  # NaN


def test_empty_cases_are_counted_and_only_both_empty_leaves_the_mean():
    (liver,) = summarise([HALF, FULL, MISSED, INVENTED, NOTHING])
    assert (liver.label, liver.n) == ("liver", 5)
    assert (liver.n_empty_both, liver.n_empty_reference, liver.n_empty_segmentation) == (1, 1, 1)
    assert (liver.dice.n, liver.dice.mean) == (4, pytest.approx(1.5 / 4))
    assert liver.iou.mean == pytest.approx((1 / 3 + 1) / 4)
    assert liver.dice.worst == "missed"


def test_every_number_of_a_row_is_summarised():
    told = {"study_id", "label", "empty", "tolerance_mm", "reference_voxels", "segmentation_voxels"}
    assert {field.name for field in fields(Score)} - told == set(WORST)
    assert list(summarise([HALF])[0].spreads) == list(WORST)


def test_the_worst_study_is_the_lowest_overlap_and_the_largest_distance_or_difference():
    near = study("near", [0, 1, 1, 0, 0, 0], [0, 1, 1, 1, 0, 0])  # 10 mm too far, 1 ml too much
    far = study("far", [0, 1, 1, 1, 1, 0], [0, 1, 0, 0, 0, 0])  # 30 mm short, 3 ml too little
    (liver,) = summarise([near, far])
    worst = {name: (spread.worst, spread.worst_value) for name, spread in liver.spreads.items()}
    assert worst["dice"] == ("far", pytest.approx(0.4))
    assert worst["hd_mm"] == ("far", 30)
    assert worst["volume_difference_ml"] == ("far", pytest.approx(-3))
    assert worst["absolute_volume_difference_ml"] == ("far", pytest.approx(3))
    assert worst["relative_volume_difference"] == ("far", -0.75)
    assert worst["reference_ml"][0] == ""
    assert liver.spreads["hd_mm"].mean == 20


def test_distances_are_undefined_and_nsd_is_0_where_a_side_lacks_the_label():
    (liver,) = summarise([FULL, MISSED, INVENTED, NOTHING])
    assert (liver.spreads["hd95_mm"].n, liver.spreads["hd95_mm"].mean) == (1, 0)
    assert (liver.spreads["nsd"].n, liver.spreads["nsd"].mean) == (3, pytest.approx(1 / 3))
    assert liver.tolerance_mm == 2


def test_the_tolerance_is_unknown_where_it_differs_or_nothing_was_measured():
    arrays = [np.array([0, 1], np.uint8).reshape(-1, 1, 1)] * 2
    coarse = score_arrays("coarse", *arrays, ("liver",), MILLILITRES, ScoringOptions(default_tolerance_mm=7))
    plain = score_arrays("plain", *arrays, ("liver",), MILLILITRES, ScoringOptions(surface=False))
    assert math.isnan(summarise([HALF, coarse])[0].tolerance_mm)
    assert math.isnan(summarise([plain])[0].tolerance_mm)
    assert summarise([plain])[0].spreads["hd_mm"].n == 0
    assert summarise([plain])[0].lesions is None


def test_lesions_are_summarised_where_they_were_scored():
    arrays = (np.array(values, np.uint8).reshape(-1, 1, 1) for values in ([1, 0, 1, 0], [1, 0, 0, 0]))
    scores = score_arrays("a", *arrays, ("liver",), np.eye(4), ScoringOptions(lesions=("liver",)))
    (liver,) = summarise([scores])
    assert (liver.lesions.reference_lesions, liver.lesions.found) == (2, 1)
    assert (liver.spreads["lesion_f1"].mean, liver.spreads["detected_lesions"].mean) == (pytest.approx(2 / 3), 1)


def test_the_dataset_iou_puts_all_voxels_together():
    (liver,) = summarise([HALF, FULL])  # 4 voxels right, 1 missed, 1 too many
    assert liver.dataset_iou == pytest.approx(4 / 6)
    assert liver.iou.mean == pytest.approx(2 / 3)
    assert summarise([HALF, FULL, MISSED])[0].dataset_iou == pytest.approx(4 / 9)


def test_labels_keep_their_order():
    scores = [study("a", [0, 1, 2], [0, 1, 2], "tumour", "liver")]
    assert [summary.label for summary in summarise(scores)] == ["tumour", "liver"]


def test_overall_averages_studies_and_offers_the_dataset_beside():
    whole = overall([HALF, FULL])
    assert (whole.n, whole.accuracy) == (2, 0.75)
    assert whole.miou == pytest.approx((1 / 3 + 1) / 2)  # HALF: background 1/3 and liver 1/3
    assert whole.miou_foreground == pytest.approx(2 / 3)
    assert whole.fw_iou == pytest.approx((2 / 4 * 1 / 3 + 2 / 4 * 1 / 3 + 1) / 2)
    assert whole.dataset_fw_iou == pytest.approx(3 / 8 * 2 / 4 + 5 / 8 * 4 / 6)
    assert whole.dataset_miou == pytest.approx((2 / 4 + 4 / 6) / 2)
    assert whole.dataset_miou_foreground == pytest.approx(4 / 6)


def test_no_studies_give_no_summaries_and_no_numbers():
    assert summarise([]) == []
    assert overall([]).n == 0
    assert math.isnan(overall([]).dataset_miou)


def test_studies_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="same labels"):
        summarise([HALF, study("other", [0, 1], [0, 1], "spleen")])
    with pytest.raises(ValueError, match="each study_id once"):
        overall([HALF, HALF])
