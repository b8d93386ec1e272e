from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import ConfigError, GeometryError, LabelError, StudyError
from medseg.evaluation.files import score_files
from medseg.evaluation.options import ScoringOptions
from medseg.study.nifti import write_labels
from medseg.types import Grid, LabelMap
from tests.study.every_format import KINDS, write_study

LABELS = LabelMap({"liver": (1,), "tumour": (2,)})


def line(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8).reshape(-1, 1, 1)


def write(path: Path, values: np.ndarray, spacing_mm: tuple[float, float, float] = (1, 2, 5)) -> Path:
    write_labels(path, values, Grid(values.shape, np.diag([*spacing_mm, 1.0])))
    return path


def test_files_are_scored_with_their_own_label_values_and_voxel_volume(tmp_path):
    reference = write(tmp_path / "reference.nii.gz", line(0, 5, 5, 6, 9))
    segmentation = write(tmp_path / "segmentation.nii.gz", line(0, 1, 1, 2, 2))
    reference_map = LabelMap({"liver": (5,), "tumour": (6,)}, ignore=(9,))
    swapped = LabelMap({"tumour": (2,), "liver": (1,)})
    study = score_files("s1", reference, segmentation, reference_map, swapped)
    assert [(row.label, row.dice, row.hd_mm) for row in study.rows] == [("liver", 1.0, 0.0), ("tumour", 1.0, 0.0)]
    assert study.rows[0].reference_ml == pytest.approx(2 * 1 * 2 * 5 / 1000)
    assert study.note == ""


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_other_formats_are_read_in_their_place(tmp_path, suffix):
    import SimpleITK as sitk

    reference = write(tmp_path / "reference.nii.gz", line(0, 1, 1, 2), spacing_mm=(1, 1, 1))
    image = sitk.GetImageFromArray(line(0, 1, 2, 2).T.astype(np.int16))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # ITK's axes run to the left and back
    sitk.WriteImage(image, str(tmp_path / f"segmentation{suffix}"))
    study = score_files("s1", reference, tmp_path / f"segmentation{suffix}", LABELS, LABELS, ScoringOptions(False))
    assert [row.dice for row in study.rows] == [pytest.approx(2 / 3), pytest.approx(2 / 3)]


def test_a_segmentation_on_another_grid_is_refused_with_the_numbers(tmp_path):
    reference = write(tmp_path / "reference.nii", line(0, 1))
    segmentation = write(tmp_path / "segmentation.nii", line(0, 1), spacing_mm=(2, 2, 5))
    with pytest.raises(GeometryError, match=r"s1: reference and segmentation: .* 1\.00 mm apart"):
        score_files("s1", reference, segmentation, LABELS, LABELS)


def test_a_segmentation_on_another_grid_may_be_resampled_and_the_row_says_so(tmp_path):
    reference = write(tmp_path / "reference.nii", line(1, 1, 0, 0, 0, 0), spacing_mm=(1, 1, 1))
    # voxels of 2 mm around 0, 2 and 4 mm: 1 mm lies on a border and falls to the second
    segmentation = write(tmp_path / "segmentation.nii", line(1, 0), spacing_mm=(2, 1, 1))
    options = ScoringOptions(surface=False)
    study = score_files("s1", reference, segmentation, LABELS, LABELS, options, resample_segmentation=True)
    assert (study.rows[0].segmentation_voxels, study.rows[0].dice) == (1, pytest.approx(2 / 3))
    assert study.note == (
        "segmentation resampled (nearest neighbour) from 2x1x1 at 2 x 1 x 1 mm to 6x1x1 at 1 x 1 x 1 mm; "
        "50.0% of the reference lies outside of it, taken as background"
    )
    same = score_files("s1", reference, reference, LABELS, LABELS, options, resample_segmentation=True)
    assert same.note == ""


def test_a_segmentation_may_not_choose_where_it_is_scored(tmp_path):
    reference, segmentation = write(tmp_path / "a.nii", line(0, 1)), write(tmp_path / "b.nii", line(0, 9))
    labels = LabelMap({"liver": (1,)}, ignore=(9,))
    with pytest.raises(LabelError, match="9"):
        score_files("s1", reference, segmentation, labels, labels)


def test_label_maps_of_different_classes_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="found liver, tumour for the reference and liver for the segmentation"):
        score_files("s1", tmp_path, tmp_path, LABELS, LabelMap({"liver": (1,)}))


def test_values_that_are_no_labels_say_what_was_found(tmp_path):
    import nibabel

    good = write(tmp_path / "good.nii", line(0, 1), spacing_mm=(1, 1, 1))
    for name, values, message in (
        ("float.nii", np.array([0, 0.5], np.float32), "fractions such as 0.5"),
        ("huge.nii", np.array([0, 2_000_000_000], np.int32), "2000000000"),
    ):
        nibabel.Nifti1Image(values.reshape(-1, 1, 1), np.eye(4)).to_filename(tmp_path / name)
        with pytest.raises(LabelError, match=message):
            score_files("s1", good, tmp_path / name, LABELS, LABELS)
    with pytest.raises(StudyError, match="no such file"):
        score_files("s1", good, tmp_path / "nowhere.mha", LABELS, LABELS)


NAMES = LabelMap({"liver": ("liver",), "tumour": ("tumour",)})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_formats_may_be_mixed_and_the_scores_are_those_of_nifti(tmp_path, ct_series, kind, other):
    """A DICOM-SEG leaves out slices, on which the other side may have something."""
    hu, one, two = np.zeros((6, 5, 7), np.int16), *np.zeros((2, 6, 5, 7), np.uint8)
    one[1:4, 1:4, 2:5], one[2, 2, 3] = 1, 2
    two[2:5, 1:4, 1:5], two[2, 2, 3:6] = 1, 2
    paths, maps = [], []
    for number, (form, classes) in enumerate(((kind, one), (other, two), ("nifti", one), ("nifti", two))):
        paths.append(write_study(tmp_path / str(number), "a", hu, classes, form, ct_series).label)
        maps.append(NAMES if form == "dicom" else LABELS)
    found, expected = score_files("a", *paths[:2], *maps[:2]), score_files("a", *paths[2:], *maps[2:])
    both = (kind, other) == ("dicom", "dicom")  # how many slices are empty is not known, and only specificity asks
    unasked = {"specificity": None} if both else {}
    assert [replace(row, **unasked) for row in found.rows] == [replace(row, **unasked) for row in expected.rows]
    assert ("neither of them shows" in found.note) == both
    assert [row.reference_voxels for row in found.rows] == [26, 1]


@pytest.mark.parametrize("resample", [True, False])
def test_a_dicom_seg_of_another_grid_is_refused_or_resampled(tmp_path, ct_series, resample):
    classes = np.ones((6, 5, 7), np.uint8)
    segmentation = write_study(tmp_path, "a", np.zeros(classes.shape, np.int16), classes, "dicom", ct_series).label
    moved = np.array([[-1.5, 0, 0, 10], [0, -2, 0, 20], [0, 0, 3, 31], [0, 0, 0, 1]])
    reference = tmp_path / "reference.nii"
    write_labels(reference, classes, Grid(classes.shape, moved))
    liver = LabelMap({"liver": ("liver",)}), LabelMap({"liver": (1,)})
    if resample:
        study = score_files("a", reference, segmentation, liver[1], liver[0], resample_segmentation=True)
        assert study.note.startswith("segmentation resampled (nearest neighbour) from 6x5x7 at 1.5 x 2 x 3 mm")
        return
    with pytest.raises(GeometryError, match=r"^study a .*first pixel is its voxel"):
        score_files("a", reference, segmentation, liver[1], liver[0])
    with pytest.raises(GeometryError):  # nobody knows how far the reference reaches beyond its frames
        score_files("a", segmentation, reference, *liver, resample_segmentation=True)
