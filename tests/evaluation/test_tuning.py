"""On label maps whose faults are known, the steps that mend them are chosen and the others are not."""

import numpy as np
import pytest

from medseg.evaluation.candidates import Reading
from medseg.evaluation.tuning import Case, tune
from medseg.model.classes import Classes
from medseg.types import IGNORE_INDEX, Grid

BOTH = Classes(("liver", "tumour"))
MM = np.diag([5.0, 5.0, 5.0, 1.0])  # 0.125 ml a voxel


def case(study_id, reference, segmentation, probabilities=None):
    return Case(study_id, lambda: Reading(reference, segmentation, Grid(reference.shape, MM), probabilities))


def liver():
    """A cube of 10 voxels' edge in 20 x 16 x 16 voxels."""
    classes = np.zeros((20, 16, 16), np.uint8)
    classes[2:12, 3:13, 3:13] = 1
    return classes


def with_tumours():
    """Two tumours of 8 voxels (1 ml) each in the liver."""
    classes = liver()
    classes[4:6, 5:7, 5:7] = classes[8:10, 9:11, 9:11] = 2
    return classes


def kept(tuning):
    return [str(gain.step) for gain in tuning.kept]


def test_islands_holes_and_tumours_outside_are_mended_by_the_steps_for_them():
    reference = with_tumours()
    raw = reference.copy()
    raw[7, 4:6, 6:8] = 0  # a hole in the liver
    raw[15:17, 3:8, 3:8] = 1  # an island of 6.25 ml, too large for every minimum_ml
    raw[18:20, 12:14, 12:14] = 2  # a tumour of a true one's size, far outside
    raw[18:20, 3, 14] = 2
    tuning = tune([case("a", reference, raw), case("b", reference, reference)], BOTH)
    assert kept(tuning) == ["inside: tumour in liver + 20 mm", "keep_largest: liver", "fill_holes: liver"]
    first, second, third = tuning.kept
    # tumour: 2 * 16 / (16 + 26) in study a and 1 in b
    assert first.before == pytest.approx((32 / 42 + 1) / 2)
    assert (first.after, first.better, first.worse) == (1.0, 1, 0)
    # liver: 984 voxels, of which 4 are missing, and 50 too many
    assert second.before == pytest.approx((2 * 980 / (984 + 1030) + 1) / 2)
    assert second.after == pytest.approx((2 * 980 / (984 + 980) + 1) / 2)
    assert third.before == second.after
    assert third.after == 1.0
    assert tuning.section == {
        "inside": {"tumour": {"of": ["liver"], "margin_mm": 20.0}},
        "keep_largest": ["liver"],
        "fill_holes": ["liver"],
    }


def test_a_step_that_does_harm_is_refused_with_the_number():
    reference = with_tumours()
    tuning = tune([case("a", reference, reference.copy())], BOTH)
    assert tuning.kept == ()
    assert tuning.section == {}
    refused = {str(gain.step): gain for gain in tuning.refused}
    harmful = refused["keep_largest: tumour"]  # loses one of two equal tumours: 2 * 8 / (16 + 8)
    assert (harmful.before, harmful.after) == (1.0, pytest.approx(2 / 3))
    assert (harmful.better, harmful.worse, harmful.refused) == (0, 1, "lowers it")
    assert refused["keep_largest: liver"].refused == "gains too little"


def test_what_helps_one_class_and_lowers_another_is_refused():
    reference, raw = liver(), liver()
    raw[15:18, 3:8, 3:8] = 1  # no liver ...
    raw[16, 5, 5] = reference[16, 5, 5] = 2  # ... but a true tumour in it
    healthy, wrong = liver(), liver()
    wrong[18, 14, 14] = 2
    tuning = tune([case("a", reference, raw), case("b", healthy, wrong)], BOTH)
    assert kept(tuning) == ["inside: tumour in liver + 20 mm"]
    harmful = next(gain for gain in tuning.refused if str(gain.step) == "keep_largest: liver")
    assert harmful.before == pytest.approx((2 * 1000 / (1000 + 1074) + 1) / 2)
    assert harmful.after == 1.0
    assert harmful.refused == "lowers tumour by 1.0000"


def test_a_small_gain_is_not_worth_a_step():
    reference = liver()
    raw = reference.copy()
    raw[18, 14, 14] = 1  # Dice 2000 / 2001
    assert tune([case("a", reference, raw)], BOTH).kept == ()
    eager = tune([case("a", reference, raw)], BOTH, min_gain=0.0)
    assert kept(eager) == ["minimum_ml: liver 0.2 ml"]  # the gentlest of those that mend it


def test_an_empty_reference_leaves_the_mean_and_counts_as_better_when_cleared():
    healthy = liver()
    wrong = healthy.copy()
    wrong[18, 14, 14] = 2
    ill = with_tumours()
    tuning = tune([case("healthy", healthy, wrong), case("ill", ill, ill)], BOTH)
    assert kept(tuning) == ["inside: tumour in liver + 20 mm"]
    gain = tuning.kept[0]
    assert (gain.before, gain.after, gain.gain) == (0.5, 1.0, 0.5)
    assert (gain.better, gain.worse) == (1, 0)


def test_a_class_in_no_study_is_left_alone():
    tuning = tune([case("a", liver(), liver())], BOTH)
    assert tuning.kept == ()
    assert {gain.refused for gain in tuning.refused if gain.step.label == "tumour"} == {"in no study"}


def test_ignored_voxels_do_not_count_and_empty_studies_are_fine():
    reference, raw = liver(), liver()
    raw[16:18, 3:8, 3:8] = 1
    reference[16:18] = IGNORE_INDEX
    empty = np.zeros_like(raw)
    assert tune([case("a", reference, raw), case("b", empty, empty)], BOTH).kept == ()
    assert (tune([], BOTH).kept, tune([], BOTH).studies) == ((), 0)


def test_the_arrays_stay_as_they_are_and_every_study_is_told_each_round():
    reference = liver()
    raw = reference.copy()
    raw[16:18, 3:8, 3:8] = 1
    before, seen = raw.copy(), []
    tuning = tune([case("a", reference, raw), case("b", reference, raw)], BOTH, on_case=seen.append)
    assert np.array_equal(raw, before)
    assert seen == ["a", "b"] * (len(tuning.kept) + 1)


def test_a_threshold_finds_what_the_arg_max_misses():
    reference = with_tumours()
    raw = liver()
    raw[reference == 2] = 1  # no tumour is ever the likeliest
    probabilities = np.zeros((2, *raw.shape), np.uint8)
    probabilities[0][reference == 1] = 240
    probabilities[:, reference == 2] = np.array([[150], [90]], np.uint8)  # 0.59 and 0.35
    probabilities[1, 5, 10, 10] = 60
    tuning = tune([case("a", reference, raw, probabilities)], BOTH, thresholds=True)
    assert kept(tuning) == ["thresholds: tumour 0.3"]
    assert (tuning.kept[0].before, tuning.kept[0].after, tuning.kept[0].better) == (0.0, 1.0, 1)
    assert tuning.section == {"thresholds": {"tumour": 0.3}}
    assert tuning.thresholds
    assert kept(tune([case("a", reference, raw)], BOTH)) == []


def test_a_step_that_lowers_another_class_hardly_is_kept():
    reference = with_tumours()
    raw = liver()
    probabilities = np.zeros((2, *raw.shape), np.uint8)
    probabilities[0][reference == 1] = 240
    probabilities[:, reference == 2] = np.array([[150], [90]], np.uint8)
    probabilities[:, 2, 3, 3] = 150, 90  # one voxel of the liver goes with the tumours
    tuning = tune([case("a", reference, raw, probabilities)], BOTH, thresholds=True, min_gain=0.01)
    assert kept(tuning)[0] == "thresholds: tumour 0.3"
    strict = tune([case("a", reference, raw, probabilities)], BOTH, thresholds=True, min_gain=0.0001)
    assert "thresholds: tumour 0.3" in kept(strict)  # the liver gains more from the tumours that leave it
