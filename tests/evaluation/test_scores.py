import math

import numpy as np
import pytest

from medseg.errors import ConfigError, GeometryError, LabelError
from medseg.evaluation.options import ScoringOptions
from medseg.evaluation.scores import StudyScores, score_arrays

NAMES = ("liver", "tumour")
AFFINE = np.diag([1.0, 2.0, 5.0, 1.0])  # a voxel of 10 mm^3, 0.01 ml
OVERLAP = ScoringOptions(surface=False)


def line(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8).reshape(-1, 1, 1)


def two_cubes(shift: int) -> tuple[np.ndarray, np.ndarray]:
    """A cube of 4 voxels as reference, and the same one ``shift`` voxels along I."""
    reference, segmentation = (np.zeros((12, 8, 8), np.uint8) for _ in range(2))
    reference[2:6, 2:6, 2:6] = 1
    segmentation[2 + shift : 6 + shift, 2:6, 2:6] = 1
    return reference, segmentation


def scored(reference: np.ndarray, segmentation: np.ndarray, **settings: object) -> StudyScores:
    return score_arrays("s1", reference, segmentation, ("liver",), np.eye(4), ScoringOptions(**settings))


def test_a_study_gives_one_row_a_label_with_the_numbers_worked_out_by_hand():
    study = score_arrays("s1", line(0, 0, 1, 1, 1, 2), line(0, 1, 1, 1, 0, 2), NAMES, AFFINE, OVERLAP)
    liver, tumour = study.rows
    assert (liver.study_id, liver.label, liver.empty) == ("s1", "liver", "")
    assert (liver.dice, liver.iou) == (pytest.approx(4 / 6), 2 / 4)
    assert (liver.precision, liver.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert liver.specificity == pytest.approx(2 / 3)  # of 3 voxels that are no liver, 1 is called one
    assert (liver.reference_voxels, liver.segmentation_voxels) == (3, 3)
    assert (liver.reference_ml, liver.segmentation_ml) == (pytest.approx(0.03), pytest.approx(0.03))
    assert (tumour.dice, tumour.reference_ml) == (1.0, pytest.approx(0.01))
    assert study.accuracy == pytest.approx(4 / 6)
    assert study.miou == pytest.approx((1 / 3 + 1 / 2 + 1) / 3)
    assert study.fw_iou == pytest.approx(2 / 6 * 1 / 3 + 3 / 6 * 1 / 2 + 1 / 6)
    assert study.miou_foreground == 0.75
    assert study.labels == NAMES


def test_volumes_differ_with_and_without_their_sign():
    row = score_arrays("s1", line(1, 1, 1, 1, 0), line(1, 0, 0, 0, 0), ("liver",), AFFINE, OVERLAP).rows[0]
    assert (row.volume_difference_ml, row.absolute_volume_difference_ml) == (pytest.approx(-0.03), pytest.approx(0.03))
    assert (row.relative_volume_difference, row.ravd) == (-0.75, 0.75)
    invented = score_arrays("s1", line(0, 0), line(1, 0), ("liver",), AFFINE, OVERLAP).rows[0]
    assert invented.volume_difference_ml == pytest.approx(0.01)
    assert math.isnan(invented.relative_volume_difference)
    assert math.isnan(invented.ravd)


def test_surfaces_are_measured_in_the_affines_millimetres():
    row = scored(*two_cubes(1), definition="voxels").rows[0]
    assert (row.hd_mm, row.tolerance_mm, row.nsd) == (1.0, 2.0, 1.0)
    wide = score_arrays("s1", *two_cubes(1), ("liver",), np.diag([3.0, 1, 1, 1])).rows[0]
    assert wide.hd_mm == pytest.approx(3.0)
    assert wide.nsd < 1


def test_the_labels_own_tolerance_is_the_rows():
    near, far = (scored(*two_cubes(3), tolerance_mm={"liver": mm}).rows[0] for mm in (0.5, 7))
    assert (near.tolerance_mm, far.tolerance_mm, far.nsd) == (0.5, 7.0, 1.0)
    assert 0 < near.nsd < 1
    assert near.hd95_mm == far.hd95_mm == pytest.approx(3.0)


def test_what_is_not_asked_for_is_left_out():
    row = score_arrays("s1", *two_cubes(1), ("liver",), np.eye(4), OVERLAP).rows[0]
    assert all(math.isnan(value) for value in (row.hd_mm, row.hd95_mm, row.assd_mm, row.nsd, row.tolerance_mm))
    assert (row.reference_lesions, row.false_positive_lesions) == (None, None)
    assert math.isnan(row.lesion_f1)


def test_lesions_are_found_missed_and_invented():
    reference, segmentation = (np.zeros((20, 6, 6), np.uint8) for _ in range(2))
    reference[1:4, 1:4, 1:4] = 2  # 27 voxels, found with 18 of them
    segmentation[1:3, 1:4, 1:4] = 2
    reference[8:10, 1:3, 1:3] = 2  # 8 voxels, missed
    segmentation[15, 1, 1] = 2  # invented
    options = ScoringOptions(surface=False, lesions=("tumour",))
    study = score_arrays("s1", reference, segmentation, NAMES, AFFINE, options)
    liver, tumour = study.rows
    assert liver.reference_lesions is None
    assert (tumour.reference_lesions, tumour.segmentation_lesions) == (2, 2)
    assert (tumour.detected_lesions, tumour.false_positive_lesions) == (1, 1)
    assert (tumour.lesion_sensitivity, tumour.lesion_precision, tumour.lesion_f1) == (0.5, 0.5, 0.5)
    assert tumour.lesion_dice == pytest.approx((2 * 18 / (27 + 18) + 0) / 2)
    assert [(row.side, row.index, row.partner) for row in study.lesions] == [
        ("reference", 1, 1),
        ("reference", 2, 0),
        ("segmentation", 1, 1),
        ("segmentation", 2, 0),
    ]
    largest = study.lesions[0]
    assert (largest.label, largest.overlap, largest.dice) == ("tumour", pytest.approx(18 / 27), pytest.approx(0.8))
    assert largest.volume_ml == pytest.approx(0.27)
    assert largest.centre_mm == pytest.approx((2, 4, 10))
    assert largest.longest_diameter_mm == pytest.approx(math.sqrt(3**2 + 6**2 + 15**2))


def test_ignored_voxels_count_in_no_volume_and_make_no_lesion():
    row = score_arrays("s1", line(1, 255, 0), line(1, 1, 0), ("liver",), AFFINE, OVERLAP).rows[0]
    assert (row.dice, row.reference_voxels, row.segmentation_voxels) == (1.0, 1, 1)
    reference, segmentation = line(1, 0, 0, 255, 255), line(1, 0, 0, 1, 0)
    row = scored(reference, segmentation, surface=False, lesions=("liver",)).rows[0]
    assert (row.segmentation_lesions, row.false_positive_lesions) == (1, 0)


@pytest.mark.parametrize(
    ("reference", "segmentation", "empty"),
    [
        (line(0, 0), line(0, 0), "both"),
        (line(0, 0), line(0, 1), "reference"),
        (line(0, 1), line(0, 0), "segmentation"),
        (line(0, 1), line(1, 0), ""),
    ],
)
def test_the_row_says_which_side_is_empty(reference, segmentation, empty):
    row = scored(reference, segmentation).rows[0]
    assert row.empty == empty
    assert np.isnan(row.dice) == np.isnan(row.nsd) == (empty == "both")
    assert np.isnan(row.hd95_mm) == (empty != "")
    if empty in ("reference", "segmentation"):
        assert (row.dice, row.iou, row.nsd) == (0, 0, 0)


@pytest.mark.parametrize(
    ("empty_as", "share", "mm"), [("nan", math.nan, math.nan), ("zero", 0, math.nan), ("one", 1, 0)]
)
def test_a_label_in_neither_takes_what_the_options_say(empty_as, share, mm):
    study = scored(line(0, 0), line(0, 0), empty_as=empty_as)
    row = study.rows[0]
    np.testing.assert_equal([row.dice, row.iou, row.precision, row.recall, row.nsd], [share] * 5)
    np.testing.assert_equal([row.hd_mm, row.hd95_mm, row.assd_mm], [mm] * 3)
    assert row.empty == "both"
    assert math.isnan(study.miou_foreground)  # means over classes keep leaving it out


@pytest.mark.parametrize("empty_as", ["nan", "zero", "one"])
def test_a_label_on_one_side_is_the_same_mistake_whatever_the_options_say(empty_as):
    row = scored(line(0, 0), line(0, 1), empty_as=empty_as).rows[0]
    assert (row.dice, row.precision, row.nsd) == (0, 0, 0)
    assert math.isnan(row.recall)
    assert math.isnan(row.hd_mm)


def test_without_surfaces_an_empty_label_still_has_none():
    row = scored(line(0, 0), line(0, 0), surface=False, empty_as="one").rows[0]
    assert row.dice == 1
    assert math.isnan(row.nsd)


def test_arrays_of_two_shapes_and_values_of_no_class_name_the_study():
    with pytest.raises(GeometryError, match=r"s1: .*\(2, 1, 1\), found \(3, 1, 1\)"):
        score_arrays("s1", line(0, 0), line(0, 0, 0), NAMES, AFFINE)
    with pytest.raises(LabelError, match=r"s1: the segmentation: .* 0 to 2, found 7"):
        score_arrays("s1", line(0, 0), line(0, 7), NAMES, AFFINE)


def test_options_that_name_no_label_are_refused():
    with pytest.raises(ConfigError, match="lesions: expected liver, found 'tumour'"):
        scored(line(0), line(0), lesions=("tumour",))
