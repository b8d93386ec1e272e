"""The numbers of the page are those of the evaluation."""

import json
import math

import numpy as np
import pytest

from medseg.evaluation.results import Evaluation, Failure
from medseg.evaluation.summary import summarise
from medseg.reports.page.data import mean_dice, page_data, plain
from tests.reports.page.report_phantoms import CLASSES, block_study, scored


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    studies = {"a": block_study(), "b": block_study(shift=4), "c": block_study(shift=4, label=2)}
    return Evaluation(tuple(scored(*study) for study in studies.items()), (Failure("d", "truncated"),))


def test_rows_are_the_studies_scores_by_hand(evaluation):
    data = page_data(evaluation, CLASSES, (-100, 240))
    rows = [dict(zip(data["columns"], row, strict=True)) for row in data["rows"]]
    assert [(row["study_id"], row["label"]) for row in rows] == [(s, c) for s in "abc" for c in CLASSES]
    # 4 of 16 voxels off: 12 / 16
    assert [row["dice"] for row in rows] == [1.0, None, 0.75, None, None, 0.75]
    assert rows[1]["empty"] == "both"
    assert rows[0]["reference_ml"] == pytest.approx(16**3 * 0.125)
    assert data["failures"] == [["d", "truncated"]]
    assert data["overall"]["n"] == 3


def test_labels_have_their_spreads_and_lesions_their_rows(evaluation):
    data = page_data(evaluation, CLASSES, (-100, 240))
    liver, tumour = data["labels"]
    assert liver["spreads"]["dice"]["mean"] == pytest.approx(0.875)
    assert liver["spreads"]["dice"]["low"] == pytest.approx(summarise(evaluation.scores)[0].dice.low)
    assert tumour["spreads"]["dice"]["low"] is None  # of one study
    assert (liver["n_empty_both"], tumour["n_empty_both"]) == (1, 2)
    assert {(lesion["side"], lesion["label"], lesion["study_id"]) for lesion in data["lesions"]} == {
        ("reference", "tumour", "c"),
        ("segmentation", "tumour", "c"),
    }


def test_each_class_has_a_colour_and_json_can_hold_it_all(evaluation):
    for names in (CLASSES, tuple(f"organ {i}" for i in range(104)), ()):
        data = page_data(Evaluation(()), names, (-100, 240))
        assert len(data["colours"]) == len(names)
        json.dumps(data, allow_nan=False)
    json.dumps(page_data(evaluation, CLASSES, (-100, 240)), allow_nan=False)


def test_what_json_lacks_becomes_none_and_numbers_get_six_digits():
    assert plain({"a": (1, math.nan, math.inf), 2: [0.123456789, 123456.789]}) == {
        "a": [1, None, None],
        "2": [0.123457, 123457.0],
    }


def test_mean_dice_leaves_undefined_labels_out(evaluation):
    assert [mean_dice(study) for study in evaluation.scores] == [1.0, 0.75, 0.75]
    assert math.isnan(mean_dice(scored("e", block_study(label=0))))
    assert np.isfinite(mean_dice(evaluation.scores[0]))
