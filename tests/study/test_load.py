"""Studies come out alike whatever their formats."""

from dataclasses import replace

import numpy as np
import pytest

from medseg.errors import GeometryError, LabelError, StudyError
from medseg.study.dicom.seg import write_dicom_seg
from medseg.study.load import files_of, is_dicom_label, load_study, read_label, read_label_pair
from medseg.study.nifti import write_image, write_labels
from medseg.types import Grid, LabelMap, Study
from tests.study.dicom_files import write_series
from tests.study.every_format import KINDS, write_study

NUMBERS = LabelMap({"liver": (1,), "tumour": (2,)})
NAMES = LabelMap({"liver": ("Liver",), "tumour": ("tumour",)})
SHAPE = (8, 7, 5)
HU = np.random.default_rng(3).integers(-1000, 400, SHAPE).astype(np.int16)


def map_of(kind):
    return NAMES if kind == "dicom" else NUMBERS


def drawn():
    classes = np.zeros(SHAPE, np.uint8)
    classes[1:6, 1:5, 1:4], classes[2:4, 2:4, 2], classes[7, 6, 3] = 1, 2, 2
    return classes


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_study(tmp_path, ct_series, kind):
    loaded = load_study(write_study(tmp_path, "a", HU, drawn(), kind, ct_series), lambda study: map_of(kind))
    np.testing.assert_array_equal(loaded.image.voxels, HU)
    np.testing.assert_array_equal(loaded.label.voxels, drawn())
    assert (loaded.image.voxels.dtype, loaded.label.voxels.dtype) == (np.int16, np.uint8)
    assert (loaded.image.grid.spacing_mm, loaded.image.grid.affine[:3, 3].tolist()) == ((1.5, 2, 3), [10, 20, 30])


def test_a_study_without_a_label_asks_for_no_label_map(tmp_path, ct_series):
    study = replace(write_study(tmp_path, "a", HU, drawn(), "nifti", ct_series), label=None)
    assert load_study(study, {}.__getitem__).label is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("image_kind", KINDS)
def test_image_and_label_may_be_of_different_formats(tmp_path, ct_series, kind, image_kind):
    label = write_study(tmp_path / "l", "a", HU, drawn(), kind, ct_series).label
    image = write_study(tmp_path / "i", "a", HU, drawn(), image_kind, ct_series)
    loaded = load_study(replace(image, label=label), lambda study: map_of(kind))
    np.testing.assert_array_equal(loaded.label.voxels, drawn())


def test_a_dicom_seg_lies_on_a_nifti_that_was_turned(tmp_path, ct_series):
    """Converters mirror and swap the axes of a series as they like."""
    study = write_study(tmp_path, "a", HU, drawn(), "dicom", ct_series)
    image = load_study(study, lambda study: NAMES).image
    turn = np.array([[0, 0, -1, SHAPE[0] - 1], [1, 0, 0, 0], [0, -1, 0, SHAPE[2] - 1], [0, 0, 0, 1.0]])
    turned = image.voxels.transpose(1, 2, 0)[:, ::-1, ::-1]
    write_image(tmp_path / "t.nii", turned, Grid(turned.shape, image.grid.affine @ turn))
    loaded = load_study(replace(study, image=tmp_path / "t.nii"), lambda study: NAMES)
    np.testing.assert_array_equal(loaded.label.voxels, drawn().transpose(1, 2, 0)[:, ::-1, ::-1])


@pytest.mark.parametrize("kind", KINDS)
def test_other_grids_are_refused_with_the_studys_name(tmp_path, ct_series, kind):
    study = write_study(tmp_path, "a", HU, drawn(), kind, ct_series)
    write_image(tmp_path / "other.nii", HU, Grid(SHAPE, np.diag([1.0, 1, 1, 1])))
    with pytest.raises(GeometryError, match=r"^(study )?a.*: expected"):
        load_study(replace(study, image=tmp_path / "other.nii"), lambda study: map_of(kind))


def test_a_dicom_seg_on_tilted_slices_says_why_it_cannot_lie_on_the_straight_ones(tmp_path, ct_series):
    image = ct_series(HU, step=(0, 1, 3))
    write_dicom_seg(tmp_path / "seg.dcm", drawn(), ("liver", "tumour"), image, "a")
    study = Study("a", "a", "0", tmp_path / "series", tmp_path / "seg.dcm")
    with pytest.raises(GeometryError, match=r"^a: the slices of a tilted gantry were set straight, and the DICOM-SEG"):
        load_study(study, lambda study: NAMES)


@pytest.mark.parametrize("kind", KINDS)
def test_values_that_nothing_names_are_refused_in_every_format(tmp_path, ct_series, kind):
    study = write_study(tmp_path, "a", HU, drawn(), kind, ct_series)
    with pytest.raises(LabelError, match=r"^study a \(.*found .* that the pipeline does not name: 2 "):
        load_study(study, lambda study: LabelMap({"liver": (1,)}))


def test_names_of_segments_need_a_dicom_seg(tmp_path, ct_series):
    study = write_study(tmp_path, "a", HU, drawn(), "nrrd", ct_series)
    with pytest.raises(LabelError, match=r"^study a \(.*expected a DICOM-SEG, .* names 'Liver', 'tumour'"):
        load_study(study, lambda study: NAMES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_pairs_lie_on_one_grid_as_far_as_a_dicom_seg_is_concerned(tmp_path, ct_series, kind, other):
    kinds = (kind, other)
    paths = tuple(write_study(tmp_path / str(n), "a", HU, drawn(), k, ct_series).label for n, k in enumerate(kinds))
    pair = read_label_pair(paths, tuple(map(map_of, kinds)), "a")
    expected = drawn()[:, :, 1:4] if kinds == ("dicom", "dicom") else drawn()  # the others' slices nobody knows of
    for label in pair:
        np.testing.assert_array_equal(label.voxels, expected)


def test_pairs_of_dicom_segs_hold_the_slices_of_both(tmp_path, ct_series):
    image, low, high = ct_series(HU), drawn(), drawn()
    low[:, :, 2:], high[:, :, :3] = 0, 0
    for name, classes in (("low", low), ("high", high)):
        write_dicom_seg(tmp_path / f"{name}.dcm", classes, ("liver", "tumour"), image, "a")
    pair = read_label_pair((tmp_path / "high.dcm", tmp_path / "low.dcm"), (NAMES, NAMES), "a")
    np.testing.assert_array_equal(pair[0].voxels, high[:, :, 1:4])
    np.testing.assert_array_equal(pair[1].voxels, low[:, :, 1:4])


def test_labels_that_are_not_there_say_so(tmp_path):
    for name in ("a.nii.gz", "a.nrrd", "a.dcm"):
        with pytest.raises(StudyError, match=r"^study s \(.*no such file"):
            read_label(tmp_path / name, NUMBERS, "s")


def test_formats_are_told_apart_by_name_and_content(tmp_path):
    write_series(tmp_path / "ct", 1)
    (file,) = (tmp_path / "ct").iterdir()
    bare = file.rename(tmp_path / "IM0001")
    assert [is_dicom_label(path) for path in (tmp_path / "ct", tmp_path / "a.dcm", bare)] == [True, True, True]
    write_labels(tmp_path / "a.nii", drawn(), Grid(SHAPE, np.eye(4)))
    odd = (tmp_path / "a.nii").rename(tmp_path / "a.img")
    assert not any(is_dicom_label(path) for path in (odd, tmp_path / "b.nii.gz", tmp_path / "b.mhd", tmp_path / "b"))


def test_the_files_of_a_study_are_all_that_is_read(tmp_path):
    paths = write_series(tmp_path / "ct", 2)
    assert files_of(tmp_path / "ct") == paths
    assert files_of(paths[0]) == [paths[0]]
    (tmp_path / "a.mhd").write_text("NDims = 3\nElementDataFile = a.raw\n")
    assert files_of(tmp_path / "a.mhd") == [tmp_path / "a.mhd", tmp_path / "a.raw"]


def test_a_series_of_several_is_chosen_by_its_number(tmp_path):
    write_series(tmp_path, 2)
    write_series(tmp_path, 3, prefix="b", SeriesInstanceUID="1.2.3", SeriesNumber=7)
    study = Study("a", "a", "0", tmp_path, series="7")
    assert load_study(study, {}.__getitem__).image.grid.shape[2] == 3
    with pytest.raises(StudyError, match=r"^study a .*found series 4 \(CT, 2 files\), series 7 \(CT, 3 files\)"):
        load_study(replace(study, series=""), {}.__getitem__)


@pytest.mark.parametrize("image_kind", ["dicom", "nifti"])
def test_a_label_whose_axes_a_converter_turned_comes_back_in_the_images_order(tmp_path, ct_series, image_kind):
    study = write_study(tmp_path, "a", HU, drawn(), image_kind, ct_series)
    image = load_study(replace(study, label=None), {}.__getitem__).image
    turn = np.array([[0, 0, -1, SHAPE[0] - 1], [1, 0, 0, 0], [0, -1, 0, SHAPE[2] - 1], [0, 0, 0, 1.0]])
    turned = drawn().transpose(1, 2, 0)[:, ::-1, ::-1]
    write_labels(tmp_path / "t.nii", turned, Grid(turned.shape, image.grid.affine @ turn))
    loaded = load_study(replace(study, label=tmp_path / "t.nii"), lambda study: NUMBERS)
    np.testing.assert_array_equal(loaded.label.voxels, drawn())
    assert loaded.label.grid is loaded.image.grid
    first, second = read_label_pair((tmp_path / "t.nii", tmp_path / "t.nii"), (NUMBERS, NUMBERS), "a")
    np.testing.assert_array_equal(first.voxels, turned)
    np.testing.assert_array_equal(second.voxels, turned)


def test_a_real_series_and_the_nifti_label_that_was_published_with_it(shared_data):
    folder = shared_data / "dicom"
    study = Study("si", "si", "0", folder / "siemens_20", folder / "siemens_20_label.nii.gz")  # LPS and LAS
    loaded = load_study(study, lambda study: LabelMap({"liver": (5,)}, rest_is_background=True))
    assert np.count_nonzero(loaded.label.voxels) == 366708
    assert loaded.image.voxels[loaded.label.voxels == 1].mean() == pytest.approx(89.30, abs=0.01)
