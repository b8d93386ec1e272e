"""Every study is looked at, whatever is wrong with the one before."""

from dataclasses import replace

import numpy as np
import pytest

from medseg.study.check import Finding, inspect_studies
from medseg.study.inputs import read_input
from medseg.study.nifti import write_image, write_labels
from medseg.types import Grid, LabelMap, Study, StudyInput
from tests.study.dicom_files import write_series
from tests.study.every_format import KINDS, write_study

LIVER = LabelMap({"liver": (1,), "tumour": (2,)}, ignore=(9,))
AFFINE = np.diag([-0.7, -0.7, 5.0, 1.0])
GRID = Grid((4, 5, 6), AFFINE)


@pytest.fixture
def make(tmp_path):
    """Write a study; image and label are arrays or None for what is usual."""

    def write(name, image=None, label=None, grid=GRID, label_grid=None):
        if image is None:
            image = np.linspace(-1000, 500, 120).reshape(GRID.shape).astype(np.float32)
        if label is None:
            label = np.zeros((label_grid or grid).shape, np.uint8)
            label[0, 0, :3] = 1, 1, 2
        write_image(tmp_path / f"{name}.nii.gz", image, grid)
        write_labels(tmp_path / f"{name}_l.nii.gz", label, label_grid or grid)
        return Study(name, name, "0", tmp_path / f"{name}.nii.gz", tmp_path / f"{name}_l.nii.gz")

    return write


def found(studies, label_map_of, **options):
    return [finding for seen in inspect_studies(studies, label_map_of, **options) for finding in seen.findings]


def check(*studies, label_map=LIVER, **options):
    return found(studies, lambda study: label_map, **options)


def assert_only(findings, level, *words):
    assert [finding.level for finding in findings] == [level]
    assert all(word in findings[0].message for word in words), findings[0].message


def test_good_study_has_no_finding_and_its_facts_are_right(make):
    study = make("a")
    label = np.zeros(GRID.shape, np.uint8)
    label[0, 0, :4] = 1, 1, 2, 9
    write_labels(study.label, label, GRID)
    assert check(study) == []
    ((_, facts, _),) = inspect_studies([study], lambda s: LIVER)
    assert (facts.shape, facts.orientation) == ((4, 5, 6), "LPS")
    assert facts.spacing_mm == pytest.approx((0.7, 0.7, 5.0))
    assert facts.label_voxels == {"liver": 2, "tumour": 1, "ignore": 1}


def test_broken_studies_do_not_stop_the_others(make):
    broken, good, missing = make("broken"), make("good"), make("missing")
    broken.image.write_bytes(broken.image.read_bytes()[:-20])
    missing.image.unlink()
    findings = check(broken, missing, good)
    assert [(f.study_id, f.level) for f in findings] == [("broken", "error"), ("missing", "error")]
    assert "cut short" in findings[0].message
    assert "no such file" in findings[1].message


def test_broken_image_does_not_hide_a_wrong_label(make):
    study = make("a", label=np.full(GRID.shape, 7, np.uint8))
    study = replace(study, image=study.image.with_name("cut.nii"))
    write_image(study.image, np.zeros(GRID.shape, np.int16), GRID)
    study.image.write_bytes(study.image.read_bytes()[:-20])  # its header can still be read
    image, label = check(study)
    assert "cut short" in image.message
    assert "7 (120 voxels)" in label.message


def test_label_on_another_grid_is_an_error_even_from_headers_alone(make):
    moved = AFFINE.copy()
    moved[2, 3] = 30.0
    study = make("a", label_grid=Grid(GRID.shape, moved))
    assert_only(check(study, read_voxels=False), "error", "image and label", "30.00 mm apart")


def test_empty_label_is_a_warning(make):
    assert_only(check(make("a", label=np.zeros(GRID.shape, np.uint8))), "warning", "empty", "liver, tumour")


def test_not_finite_voxels_are_a_warning_with_their_number(make):
    image = np.linspace(-1000, 500, 120).reshape(GRID.shape).astype(np.float32)
    image[0, 0, :2] = np.nan
    assert_only(check(make("a", image=image)), "warning", "2 of 120 voxels")


def test_constant_image_and_image_that_is_not_in_hu_are_warnings(make):
    assert_only(check(make("a", image=np.zeros(GRID.shape, np.int16))), "warning", "every voxel of the image is 0")
    assert_only(
        check(make("b", image=np.arange(120, dtype=np.int16).reshape(GRID.shape))), "warning", "expected HU", "0 to 119"
    )


def test_spacing_in_other_units_is_a_warning(make):
    assert_only(
        check(make("a", grid=Grid(GRID.shape, np.diag([700.0, 700, 5000, 1])))), "warning", "found 700 x 700 x 5000 mm"
    )


def test_headers_alone_see_no_voxels(make):
    study = make("a", label=np.full(GRID.shape, 7, np.uint8))
    assert check(study, read_voxels=False) == []


def test_study_without_a_label_is_fine(make):
    ((_, facts, findings),) = inspect_studies([replace(make("a"), label=None)], lambda s: LIVER)
    assert findings == []
    assert facts.label_voxels == {}


def test_unknown_label_map_is_a_finding_of_its_study(make):
    def label_map_of(study):
        return {"": LIVER}[study.label_map]

    findings = found([replace(make("a"), label_map="organs"), make("b")], label_map_of)
    assert findings == [Finding("a", "error", "KeyError: 'organs'")]


def test_no_studies_have_no_findings():
    assert check() == []


def test_real_liver_studies_are_well(shared_data):
    folder = shared_data / "organs_3mm"
    study = Study("organs_3mm", "organs_3mm", "1", folder / "image.nii.gz", folder / "label.nii.gz", "totalsegmentator")
    ((_, facts, findings),) = inspect_studies([study], lambda s: LabelMap({"liver": (5,)}, rest_is_background=True))
    assert findings == []
    assert facts.label_voxels == {"liver": 41602}


def test_dicom_series_are_read_whole_for_their_grid(tmp_path):
    write_series(tmp_path / "ct", 6)
    (seen,) = inspect_studies([Study("ct", "ct", "0", tmp_path / "ct")], lambda study: LabelMap({"liver": (1,)}))
    assert seen.facts.shape == read_input(StudyInput("ct", tmp_path / "ct")).grid.shape
    assert not [finding for finding in seen.findings if finding.level == "error"]


@pytest.mark.parametrize("read_voxels", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_studies_of_every_format_are_looked_at(tmp_path, ct_series, kind, read_voxels):
    hu = np.random.default_rng(0).integers(-900, 200, GRID.shape).astype(np.int16)
    classes = np.zeros(GRID.shape, np.uint8)
    classes[1:3, 1:4, 2:5], classes[2, 2, 3] = 1, 2
    study = write_study(tmp_path, "a", hu, classes, kind, ct_series)
    label_map = LabelMap({"liver": ("liver",), "tumour": ("tumour",)}) if kind == "dicom" else LIVER
    ((_, facts, findings),) = inspect_studies([study], lambda study: label_map, read_voxels=read_voxels)
    assert findings == []
    if read_voxels:
        assert facts.label_voxels == {"liver": 17, "tumour": 1}
    other = ct_series(hu, origin=(-10, -20, 40), folder=tmp_path / "other").source.files[0].parent
    moved = check(replace(study, image=other), label_map=label_map, read_voxels=read_voxels)
    assert_only(moved, "error", "expected", f"take the {'segmentation' if kind == 'dicom' else 'label'} drawn on")
