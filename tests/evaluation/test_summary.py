import math

import numpy as np
import pytest

from medseg.evaluation import Spread, StudyScores, overall, score_arrays, summarise


def study(study_id: str, reference: list[int], segmentation: list[int], *names: str) -> StudyScores:
    arrays = (np.array(values, dtype=np.uint8) for values in (reference, segmentation))
    return score_arrays(study_id, *arrays, names or ("liver",), 1.0)


HALF = study("half", [0, 1, 1, 0], [0, 1, 0, 1])  # Dice 1/2, IoU 1/3
FULL = study("full", [0, 1, 1, 1], [0, 1, 1, 1])  # Dice 1, IoU 1
MISSED = study("missed", [0, 1, 1, 1], [0, 0, 0, 0])  # Dice 0, IoU 0
INVENTED = study("invented", [0, 0, 0, 0], [0, 0, 0, 1])  # Dice 0, IoU 0
NOTHING = study("nothing", [0, 0, 0, 0], [0, 0, 0, 0])  # NaN


def test_spread_is_worked_out_over_the_defined_values():
    spread = Spread.of({"a": 0.2, "b": math.nan, "c": 0.6, "d": 0.7})
    assert (spread.n, spread.mean, spread.median, spread.min, spread.max) == (3, pytest.approx(0.5), 0.6, 0.2, 0.7)
    assert spread.sd == pytest.approx(math.sqrt((0.09 + 0.01 + 0.04) / 2))
    assert spread.worst == "a"


def test_one_study_has_no_standard_deviation_and_none_has_no_number_at_all():
    assert math.isnan(Spread.of({"a": 0.2}).sd)
    nothing = Spread.of({"a": math.nan})
    assert (nothing.n, nothing.worst) == (0, "")
    assert math.isnan(nothing.mean)
    assert math.isnan(nothing.median)


def test_the_first_of_equally_bad_studies_is_the_worst():
    assert Spread.of({"b": 0.1, "a": 0.1}).worst == "b"


def test_empty_cases_are_counted_and_only_both_empty_leaves_the_mean():
    (liver,) = summarise([HALF, FULL, MISSED, INVENTED, NOTHING])
    assert (liver.label, liver.n) == ("liver", 5)
    assert (liver.n_empty_both, liver.n_empty_reference, liver.n_empty_segmentation) == (1, 1, 1)
    assert (liver.dice.n, liver.dice.mean) == (4, pytest.approx(1.5 / 4))
    assert liver.iou.mean == pytest.approx((1 / 3 + 1) / 4)
    assert liver.dice.worst == "missed"


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
