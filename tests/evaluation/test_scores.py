from pathlib import Path

import numpy as np
import pytest

from medseg.errors import ConfigError, GeometryError, LabelError
from medseg.evaluation import score_arrays, score_files
from medseg.study.nifti import write_labels
from medseg.types import Grid, LabelMap

NAMES = ("liver", "tumour")
LABELS = LabelMap({"liver": (1,), "tumour": (2,)})


def line(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8).reshape(-1, 1, 1)


def write(path: Path, values: np.ndarray, spacing_mm: tuple[float, float, float] = (1, 2, 5)) -> Path:
    write_labels(path, values, Grid(values.shape, np.diag([*spacing_mm, 1.0])))
    return path


def test_a_study_gives_one_row_a_label_with_the_numbers_worked_out_by_hand():
    study = score_arrays("s1", line(0, 0, 1, 1, 1, 2), line(0, 1, 1, 1, 0, 2), NAMES, voxel_ml=0.5)
    liver, tumour = study.rows
    assert (liver.study_id, liver.label, liver.empty) == ("s1", "liver", "")
    assert (liver.dice, liver.iou) == (pytest.approx(4 / 6), 2 / 4)
    assert (liver.precision, liver.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (liver.reference_voxels, liver.segmentation_voxels) == (3, 3)
    assert (liver.reference_ml, liver.segmentation_ml) == (1.5, 1.5)
    assert (tumour.dice, tumour.reference_ml) == (1.0, 0.5)
    assert study.accuracy == pytest.approx(4 / 6)
    assert study.miou == pytest.approx((1 / 3 + 1 / 2 + 1) / 3)
    assert study.miou_foreground == 0.75
    assert study.labels == NAMES


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
    row = score_arrays("s1", reference, segmentation, ("liver",), 1.0).rows[0]
    assert row.empty == empty
    assert np.isnan(row.dice) == (empty == "both")


def test_ignored_voxels_count_in_no_volume():
    row = score_arrays("s1", line(1, 255, 0), line(1, 1, 0), ("liver",), 1.0).rows[0]
    assert (row.dice, row.reference_ml, row.segmentation_ml) == (1.0, 1.0, 1.0)


def test_arrays_of_two_shapes_and_values_of_no_class_name_the_study():
    with pytest.raises(GeometryError, match=r"s1: .*\(2, 1, 1\), found \(3, 1, 1\)"):
        score_arrays("s1", line(0, 0), line(0, 0, 0), NAMES, 1.0)
    with pytest.raises(LabelError, match=r"s1: the segmentation: .* 0 to 2, found 7"):
        score_arrays("s1", line(0, 0), line(0, 7), NAMES, 1.0)


def test_files_are_scored_with_their_own_label_values_and_voxel_volume(tmp_path):
    reference = write(tmp_path / "reference.nii.gz", line(0, 5, 5, 6, 9))
    segmentation = write(tmp_path / "segmentation.nii.gz", line(0, 1, 1, 2, 2))
    reference_map = LabelMap({"liver": (5,), "tumour": (6,)}, ignore=(9,))
    swapped = LabelMap({"tumour": (2,), "liver": (1,)})
    study = score_files("s1", reference, segmentation, reference_map, swapped)
    assert [(row.label, row.dice) for row in study.rows] == [("liver", 1.0), ("tumour", 1.0)]
    assert study.rows[0].reference_ml == pytest.approx(2 * 1 * 2 * 5 / 1000)


def test_a_segmentation_on_another_grid_is_refused(tmp_path):
    reference = write(tmp_path / "reference.nii", line(0, 1))
    segmentation = write(tmp_path / "segmentation.nii", line(0, 1), spacing_mm=(2, 2, 5))
    with pytest.raises(GeometryError, match="s1: reference and segmentation"):
        score_files("s1", reference, segmentation, LABELS, LABELS)


def test_a_segmentation_may_not_choose_where_it_is_scored(tmp_path):
    reference, segmentation = write(tmp_path / "a.nii", line(0, 1)), write(tmp_path / "b.nii", line(0, 9))
    labels = LabelMap({"liver": (1,)}, ignore=(9,))
    with pytest.raises(LabelError, match="9"):
        score_files("s1", reference, segmentation, labels, labels)


def test_label_maps_of_different_classes_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="found liver, tumour for the reference and liver for the segmentation"):
        score_files("s1", tmp_path, tmp_path, LABELS, LabelMap({"liver": (1,)}))
