"""DICOM-SEG labels: what was written is read, on the image's grid, voxel for voxel."""

import numpy as np
import pydicom
import pytest

from medseg.errors import GeometryError, LabelError
from medseg.study.dicom.label import read_seg_label, seg_grid
from medseg.study.dicom.read import read_series
from medseg.study.dicom.seg import write_dicom_seg
from medseg.study.itk_image import read_itk_image
from medseg.types import IGNORE_INDEX, LabelMap
from tests.study.dicom.test_seg import NAMES, OBLIQUE, SLANTED_STEP
from tests.study.seg_files import LABELMAP, write_seg

BY_NAME = LabelMap({name: (name,) for name in NAMES})
LIVER, TUMOUR = np.zeros((2, 5, 7), np.uint8)
LIVER[1:4, 1:6] = 1
TUMOUR[2, 2:4] = 1


def drawn(shape=(7, 6, 5)):
    """Three classes, lopsided; slices 0 and 3 are empty, class 2 lies on one slice only."""
    classes = np.random.default_rng(2).integers(0, 2, shape).astype(np.uint8)
    classes[:, :, [0, 3]] = 0
    classes[2:5, 1:3, 2], classes[0, 0, 4], classes[6, 1:5, 4] = 2, 3, 3
    return classes


def two_segments(path, *, liver=LIVER, tumour=TUMOUR):
    return write_seg(path, [(1, (0, 0, 5), liver), (2, (0, 0, 5), tumour)], {1: "Liver", 2: "Tumour"}, measures=ONE_MM)


ONE_MM = {"SliceThickness": 1.0}


@pytest.mark.parametrize(
    ("cosines", "step"),
    [
        ((1, 0, 0, 0, 1, 0), (0, 0, 3)),
        ((1, 0, 0, 0, 1, 0), (0, 0, -3)),
        ((-1, 0, 0, 0, -1, 0), (0, 0, 3)),
        ((0, 1, 0, 0, 0, -1), (3, 0, 0)),
        (OBLIQUE, SLANTED_STEP),
        (OBLIQUE, np.negative(SLANTED_STEP)),
        ((1, 0, 0, 0, 1, 0), (0, 1, 3)),
    ],
    ids=["axial", "reversed", "prone", "sagittal", "oblique", "oblique reversed", "sheared"],
)
def test_what_was_written_is_read(ct_series, tmp_path, cosines, step):
    image, classes = ct_series(np.full((7, 6, 5), 40), cosines, step), drawn()
    write_dicom_seg(tmp_path / "s.dcm", classes, NAMES, image, "s")
    label = read_seg_label(tmp_path / "s.dcm", BY_NAME, "s", image.grid)
    np.testing.assert_array_equal(label.voxels, classes)
    assert (label.voxels.dtype, label.grid) == (np.uint8, image.grid)


def test_it_lies_on_the_series_as_it_is_read(ct_series, tmp_path):
    """Slices are read in the order of their positions, whatever the order of their files."""
    written, classes = ct_series(np.full((7, 6, 5), 40), step=(0, 0, -3)), drawn()
    write_dicom_seg(tmp_path / "s.dcm", classes, NAMES, written, "s")
    image = read_series(tmp_path / "series")
    label = read_seg_label(tmp_path / "s.dcm", BY_NAME, "s", image.grid)
    np.testing.assert_array_equal(label.voxels, classes[:, :, ::-1])


def test_without_an_image_the_frames_are_all_there_is(ct_series, tmp_path):
    image, classes = ct_series(np.full((7, 6, 5), 40)), drawn()
    write_dicom_seg(tmp_path / "s.dcm", classes, NAMES, image, "s")
    label = read_seg_label(tmp_path / "s.dcm", BY_NAME, "s")
    np.testing.assert_array_equal(label.voxels, classes[:, :, 1:])
    np.testing.assert_allclose(label.grid.affine[:3, 3], image.grid.affine[:3, 3] + image.grid.affine[:3, 2])


def test_two_of_them_lie_on_the_grid_that_holds_both(ct_series, tmp_path):
    image = ct_series(np.full((7, 6, 5), 40))
    low, high = drawn(), drawn()
    low[:, :, 2:], high[:, :, :4] = 0, 0
    for name, classes in (("low", low), ("high", high)):
        write_dicom_seg(tmp_path / f"{name}.dcm", classes, NAMES, image, "s")
    grid = seg_grid((tmp_path / "high.dcm", tmp_path / "low.dcm"), "s")
    for name, classes in (("low", low), ("high", high)):
        np.testing.assert_array_equal(
            read_seg_label(tmp_path / f"{name}.dcm", BY_NAME, "s", grid).voxels, classes[:, :, 1:]
        )


def test_segments_are_merged_ignored_and_left_out(tmp_path):
    path = two_segments(tmp_path / "s.dcm")
    both = read_seg_label(path, LabelMap({"organ": ("liver", 2)}), "s").voxels[:, :, 0]
    np.testing.assert_array_equal(both, LIVER.T)
    lesion = read_seg_label(path, LabelMap({"lesion": (2,)}, rest_is_background=True), "s").voxels[:, :, 0]
    np.testing.assert_array_equal(lesion, TUMOUR.T)


def test_voxels_of_two_classes_are_refused_with_their_number_and_names(tmp_path):
    path = two_segments(tmp_path / "s.dcm")
    with pytest.raises(LabelError, match=r"^s: .*found 2 in several: 2 to organ \(1 'Liver'\) and lesion \(2 'Tumo"):
        read_seg_label(path, LabelMap({"organ": (1,), "lesion": ("tumour",)}), "s")
    with pytest.raises(LabelError, match=r"2 to organ \(1 'Liver'\) and ignore \(2 'Tumour'\)"):
        read_seg_label(path, LabelMap({"organ": (1,)}, ignore=(2,)), "s")


def test_classes_beside_each_other_are_none_of_that(tmp_path):
    path = two_segments(tmp_path / "s.dcm", liver=LIVER - TUMOUR)
    label = read_seg_label(path, LabelMap({"organ": (1,)}, ignore=("tumour",)), "s").voxels[:, :, 0]
    np.testing.assert_array_equal(label, np.where(TUMOUR, IGNORE_INDEX, LIVER).T)


def test_a_label_map_object_is_read_by_its_numbers(tmp_path):
    numbers = LIVER * 200
    numbers[TUMOUR == 1] = 3
    path = write_seg(
        tmp_path / "s.dcm", [(0, (0, 0, 5), numbers), (0, (0, 0, 6), 0 * numbers)], {3: "Tumour"}, sop_class=LABELMAP
    )
    label = read_seg_label(path, LabelMap({"lesion": ("tumour",), "organ": (200,)}), "s")
    np.testing.assert_array_equal(label.voxels[:, :, 0], np.where(TUMOUR, 1, 2 * LIVER).T)
    assert not label.voxels[:, :, 1].any()
    with pytest.raises(LabelError, match="does not name: 200; it names"):
        read_seg_label(path, LabelMap({"lesion": ("tumour",)}), "s")


def test_another_images_grid_is_refused(ct_series, tmp_path):
    image = ct_series(np.full((7, 6, 5), 40))
    other = ct_series(np.full((7, 6, 5), 40), origin=(-10, -20, 31), folder=tmp_path / "other")
    write_dicom_seg(tmp_path / "s.dcm", drawn(), NAMES, image, "s")
    with pytest.raises(GeometryError, match=r"^s: .* first pixel is its voxel \(0.00, 0.00, 3.67\)"):
        read_seg_label(tmp_path / "s.dcm", BY_NAME, "s", other.grid)


def test_a_segment_that_is_not_taken_must_lie_on_the_image_too(tmp_path, ct_series):
    path = two_segments(tmp_path / "s.dcm")
    with pytest.raises(GeometryError):
        read_seg_label(
            path, LabelMap({"lesion": (3,)}, rest_is_background=True), "s", ct_series(np.zeros((7, 6, 5))).grid
        )


def test_real_segmentation_is_the_label_that_was_published_with_it(shared_data):
    folder = shared_data / "dicom"
    grid = read_series(folder / "ge_3").grid
    label = read_seg_label(folder / "ge_3_liver_dicomseg.dcm", LabelMap({"organ": ("liver",)}), "ge", grid)
    assert np.count_nonzero(label.voxels) == 107098
    np.testing.assert_array_equal(label.voxels, read_itk_image(folder / "ge_3_liver_label.nrrd").voxels > 0)
    assert label.grid is grid
    with pytest.raises(GeometryError, match="512x512x20 voxels"):
        read_seg_label(
            folder / "ge_3_liver_dicomseg.dcm", LabelMap({"organ": (1,)}), "ge", read_series(folder / "siemens_20").grid
        )


def test_our_writer_and_reader_agree_on_a_real_series(shared_data, tmp_path):
    folder = shared_data / "dicom"
    image = read_series(folder / "ge_3")
    classes = (read_itk_image(folder / "ge_3_liver_label.nrrd").voxels > 0).astype(np.uint8)
    write_dicom_seg(tmp_path / "s.dcm", classes, ("liver",), image, "ge")
    assert pydicom.dcmread(tmp_path / "s.dcm").NumberOfFrames == 3
    label = read_seg_label(tmp_path / "s.dcm", LabelMap({"liver": (1,)}), "ge", image.grid)
    np.testing.assert_array_equal(label.voxels, classes)
