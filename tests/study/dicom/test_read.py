"""A series becomes one volume with known voxels at known places, or is refused with the numbers."""

import logging
import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from medseg.errors import GeometryError, StudyError
from medseg.study.dicom.read import read_series
from medseg.study.geometry import reorient
from medseg.study.nifti import read_labels
from medseg.types import LabelMap
from tests.study.dicom_files import (
    ACROSS_MM,
    CORONAL,
    DOWN_MM,
    ORIGIN,
    hu,
    stored,
    write_localiser,
    write_series,
    write_slice,
)

AXIAL_AFFINE = np.array([[-ACROSS_MM, 0, 0, 10], [0, -DOWN_MM, 0, -20], [0, 0, 2, 30], [0, 0, 0, 1]])


def test_even_series_has_the_distance_of_its_positions_not_its_thickness(tmp_path):
    files = write_series(tmp_path, 4)
    volume = read_series(tmp_path)
    assert volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(volume.voxels, hu(4))
    np.testing.assert_allclose(volume.grid.affine, AXIAL_AFFINE, atol=1e-9)
    assert volume.grid.spacing_mm == (ACROSS_MM, DOWN_MM, 2.0)
    assert volume.source.files == tuple(files)
    assert not volume.source.straightened
    assert volume.header is None


def test_slices_are_ordered_by_position_whatever_their_names_and_direction(tmp_path):
    files = write_series(tmp_path, 4, step=(0, 0, -2))
    volume = read_series(tmp_path)
    assert volume.source.files == tuple(reversed(files))
    np.testing.assert_array_equal(volume.voxels, hu(4)[..., ::-1])
    np.testing.assert_allclose(volume.grid.affine[:3, 3], (10, -20, 24), atol=1e-9)


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), CORONAL, (0, 1, 0, 0, 0, -1), (0.8, 0.6, 0, -0.6, 0.8, 0)])
def test_voxels_lie_where_simpleitk_puts_them(tmp_path, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    files = write_series(tmp_path, 4, step=2.5 * normal, ImageOrientationPatient=orientation)
    volume = read_series(tmp_path)
    image = sitk.ReadImage([str(path) for path in files])
    for index in [(0, 0, 0), (4, 5, 3), (2, 1, 1)]:
        here = volume.grid.affine @ (*index, 1)
        assert here[:3] * (-1, -1, 1) == pytest.approx(image.TransformIndexToPhysicalPoint(index), abs=1e-6)
        assert volume.voxels[index] == image[index]


def test_every_slice_has_its_own_rescale(tmp_path):
    write_slice(tmp_path / "a.dcm", stored(0), ORIGIN, RescaleSlope=1, RescaleIntercept=-1024)
    write_slice(tmp_path / "b.dcm", stored(1), (-10, 20, 32), RescaleSlope=2, RescaleIntercept=-1000)
    write_slice(tmp_path / "c.dcm", stored(2), (-10, 20, 34), RescaleSlope=0.5, RescaleIntercept=-100.25)
    volume = read_series(tmp_path)
    assert volume.voxels.dtype == np.float32  # the third slice has fractions
    expected = [stored(0).T - 1024, 2 * stored(1).T - 1000, 0.5 * stored(2).T - 100.25]
    np.testing.assert_array_equal(volume.voxels, np.stack(expected, axis=-1))


def test_missing_slices_are_counted_and_placed(tmp_path):
    write_series(tmp_path, places=[0, 1, 3, 4, 5, 8])
    with pytest.raises(
        GeometryError, match=r"study s1 .*3 slices are missing \(1 after slice 2, 2 after slice 5 of 6\)"
    ):
        read_series(tmp_path, study_id="s1")


def test_uneven_distances_are_all_named(tmp_path):
    write_series(tmp_path, places=[0, 1, 2, 3.3, 4.3])
    with pytest.raises(GeometryError, match=r"found 2.00 mm \(3 times\); 2.60 mm \(once\);"):
        read_series(tmp_path)


def test_rounded_positions_are_even(tmp_path):
    for k, z in enumerate([0.0, 0.62, 1.25, 1.88, 2.5]):  # 0.625 mm apart, written with two decimals
        write_slice(tmp_path / f"{k}.dcm", stored(k), (0, 0, z))
    assert read_series(tmp_path).grid.spacing_mm[2] == pytest.approx(0.625)


def test_same_slice_twice_is_taken_once(tmp_path, caplog):
    files = write_series(tmp_path, 3)
    shutil.copy(files[1], tmp_path / "again.dcm")
    volume = read_series(tmp_path, study_id="s1")
    np.testing.assert_array_equal(volume.voxels, hu(3))
    assert "1 copies of slice" in caplog.text


def test_two_slices_at_one_position_are_refused(tmp_path):
    write_series(tmp_path, 3)
    write_slice(tmp_path / "other.dcm", stored(7), (-10, 20, 32))
    with pytest.raises(StudyError, match=r"2 different slices at one position \(001.dcm, other.dcm\)"):
        read_series(tmp_path)


def test_phases_are_refused(tmp_path):
    for phase in (1, 2):
        write_series(tmp_path, 2, prefix=f"p{phase}_", TemporalPositionIdentifier=phase)
    with pytest.raises(StudyError, match=r"found 2 temporal positions in 4 files \(4D\)"):
        read_series(tmp_path)


def test_localisers_are_left_out_and_said_so(tmp_path, caplog):
    write_series(tmp_path, 3)
    write_localiser(tmp_path / "scout.dcm")
    with caplog.at_level(logging.INFO):
        np.testing.assert_array_equal(read_series(tmp_path).voxels, hu(3))
    assert "1 localisers left out" in caplog.text


def test_mixed_orientations_and_sizes_are_refused_with_their_counts(tmp_path):
    write_series(tmp_path, 3)
    write_slice(tmp_path / "coronal.dcm", stored(0, 8, 7), ORIGIN, ImageOrientationPatient=CORONAL)
    expected = (
        r"found 5x6 pixels of 0.5 x 0.75 mm, orientation 1 0 0 0 1 0 \(3 times\); "
        r"7x8 pixels of 0.5 x 0.75 mm, orientation 1 0 0 0 0 -1 \(once\)"
    )
    with pytest.raises(GeometryError, match=expected):
        read_series(tmp_path)


def tilted_ball(folder, direction=1):
    """A ball of 60 HU in air around (0, 0, 60) LPS, radius 9 mm, scanned by a gantry tilted by 20 degrees."""
    angle = np.deg2rad(20) * direction
    row, column = np.array([1.0, 0, 0]), np.array([0, np.cos(angle), -np.sin(angle)])
    j, i = np.mgrid[:40, :36]
    for k in range(9):
        origin = np.array([0, 0, 60]) - 18 * row - 20 * column + (0, 0, 3.0 * (k - 4))
        points = origin + i[..., None] * row + j[..., None] * column
        inside = np.linalg.norm(points - (0, 0, 60), axis=-1) <= 9
        elements = {"ImageOrientationPatient": (*row, *column), "PixelSpacing": [1, 1]}
        write_slice(folder / f"{k}.dcm", np.where(inside, 1084, 24).astype(np.int16), origin, **elements)
    return column


@pytest.mark.parametrize("direction", [1, -1])
def test_tilted_gantry_is_straightened_and_the_ball_stays_a_ball_in_its_place(tmp_path, direction, caplog):
    column = tilted_ball(tmp_path, direction)
    volume = read_series(tmp_path)
    assert volume.source.straightened
    assert "tilted by 20.0 degrees" in caplog.text
    axes = volume.grid.affine[:3, :3]
    np.testing.assert_allclose(axes.T @ axes, np.diag([1, 1, (3 * np.cos(np.deg2rad(20))) ** 2]), atol=1e-5)
    np.testing.assert_allclose(axes[:, 1] * (-1, -1, 1), column, atol=1e-6)
    assert volume.grid.shape == (36, 40 + 9, 9)  # 8 steps of 3 mm * sin 20 = 8.2 pixels more
    inside = np.argwhere(volume.voxels > -482)
    points = inside @ axes.T + volume.grid.affine[:3, 3]
    np.testing.assert_allclose(points.mean(axis=0), (0, 0, 60), atol=0.15)
    distances = np.linalg.norm(points - (0, 0, 60), axis=1)
    assert 8.5 <= distances.max() <= 9.8
    assert len(points) * volume.grid.voxel_ml == pytest.approx(4 / 3 * np.pi * 0.9**3, rel=0.03)
    assert volume.voxels.dtype == np.int16
    assert (volume.voxels.min(), volume.voxels.max()) == (-1024, 60)


def test_whole_pixel_tilt_moves_pixels_and_changes_none(tmp_path):
    # 0.75 mm down the rows per slice, at a right angle to them: one row a slice
    files = write_series(tmp_path, 3, step=(0, DOWN_MM, 2))
    volume = read_series(tmp_path)
    assert volume.grid.shape == (5, 8, 3)
    for k in range(3):
        np.testing.assert_array_equal(volume.voxels[:, k : k + 6, k], hu(3)[..., k])
        assert (np.delete(volume.voxels[..., k], np.s_[k : k + 6], axis=1) == -1024).all()
    np.testing.assert_allclose(volume.grid.affine, AXIAL_AFFINE, atol=1e-9)
    assert volume.source.files == tuple(files)


def test_uneven_and_tilted_is_refused_with_both_numbers(tmp_path):
    write_series(tmp_path, places=[0, 1, 2.4, 3.4], step=(0, 1, 2))
    with pytest.raises(
        GeometryError, match=r"2.24 mm \(2 times\); 3.13 mm \(once\), with the gantry tilted by 26.6 deg"
    ):
        read_series(tmp_path)


def test_sideways_jump_is_refused(tmp_path):
    write_series(tmp_path, 3)
    write_slice(tmp_path / "x.dcm", stored(3), (-10, 25, 36))
    with pytest.raises(GeometryError, match="gantry tilted"):
        read_series(tmp_path)


def test_single_slice_is_as_high_as_it_is_thick(tmp_path, caplog):
    write_series(tmp_path, 1)
    volume = read_series(tmp_path)
    assert volume.grid.shape == (5, 6, 1)
    assert volume.grid.spacing_mm[2] == 3.0
    assert "a single slice; its thickness of 3 mm" in caplog.text


def test_single_slice_without_thickness_is_refused(tmp_path):
    write_series(tmp_path, 1, SliceThickness=None)
    with pytest.raises(StudyError, match="without SliceThickness"):
        read_series(tmp_path)


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"])
def test_lacking_geometry_is_named(tmp_path, keyword):
    files = write_series(tmp_path, 3)
    data = pydicom.dcmread(files[1])
    delattr(data, keyword)
    data.save_as(files[1])
    with pytest.raises(StudyError, match=rf"1 of 3 files have no {keyword} \(001.dcm\)"):
        read_series(tmp_path)


@pytest.mark.parametrize(("modality", "words"), [("SEG", "SEG, no CT"), ("US", "US, no CT"), ("PT", "PT, no CT")])
def test_what_has_no_hu_is_refused(tmp_path, modality, words):
    write_series(tmp_path, 2, Modality=modality)
    with pytest.raises(StudyError, match=rf"series 4 \({modality}, 2 files\): {words}"):
        read_series(tmp_path)


def test_mr_is_read_with_a_warning(tmp_path, caplog):
    write_series(tmp_path, 2, Modality="MR")
    assert read_series(tmp_path).grid.shape == (5, 6, 2)
    assert "modality MR, not CT" in caplog.text


def test_missing_rescale_is_warned_of(tmp_path, caplog):
    write_series(tmp_path, 2, RescaleSlope=None, RescaleIntercept=None)
    np.testing.assert_array_equal(read_series(tmp_path).voxels, hu(2) + 1024)
    assert "no RescaleIntercept" in caplog.text


def test_several_series_need_a_choice(tmp_path):
    write_series(tmp_path, 2)
    write_series(tmp_path, 3, prefix="b", SeriesInstanceUID="1.2.3", SeriesNumber=7)
    with pytest.raises(StudyError, match=r"found series 4 \(CT, 2 files\), series 7 \(CT, 3 files\)"):
        read_series(tmp_path)
    assert read_series(tmp_path, "1.2.3").grid.shape == (5, 6, 3)
    with pytest.raises(StudyError, match="no longer in the folder"):
        read_series(tmp_path, "1.2.4")


def test_other_objects_beside_the_series_do_not_matter(tmp_path):
    write_series(tmp_path, 2)
    write_slice(
        tmp_path / "report.dcm",
        None,
        None,
        Modality="SR",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11",
        SeriesInstanceUID="1.2.3",
    )
    (tmp_path / "notes.txt").write_text("hello")
    np.testing.assert_array_equal(read_series(tmp_path).voxels, hu(2))


def test_broken_file_is_refused_for_it_may_be_the_last_slice(tmp_path):
    files = write_series(tmp_path, 3)
    files[2].write_bytes(files[2].read_bytes()[:300])
    with pytest.raises(StudyError, match=r"1 broken files lie among its slices, maybe slices too \(002.dcm: its DICOM"):
        read_series(tmp_path)


def test_link_that_leads_nowhere_may_be_the_last_slice_too(tmp_path):
    write_series(tmp_path, 3)[2].unlink()
    (tmp_path / "002.dcm").symlink_to("gone.dcm")
    with pytest.raises(StudyError, match=r"\(002.dcm: it is no file, or a link that leads nowhere\)"):
        read_series(tmp_path)


def test_sizes_that_the_files_cannot_hold_are_refused_before_there_is_room_for_them(tmp_path):
    write_series(tmp_path, 3, Rows=60000, Columns=60000)
    with pytest.raises(StudyError, match="60000 x 60000 pixels promised, the file has"):
        read_series(tmp_path)


def test_no_patient_is_named_anywhere(tmp_path, caplog):
    files = write_series(tmp_path, 3, step=(0, 0.5, 2))
    shutil.copy(files[1], tmp_path / "again.dcm")
    with caplog.at_level(logging.DEBUG):
        read_series(tmp_path, study_id="s1")
    assert len(caplog.records) == 2
    assert not any(word in caplog.text for word in ("Secret", "SECRET", "1970", "1.2.826"))


def test_folder_without_dicom_is_refused(tmp_path):
    with pytest.raises(StudyError, match="expected DICOM images, found none"):
        read_series(tmp_path)
    with pytest.raises(StudyError, match="found no folder"):
        read_series(tmp_path / "missing")


class TestRealSeries:
    """What scanners wrote."""

    def test_spacing_is_2_mm_though_slices_are_3_mm_thick_and_the_liver_lies_under_its_label(self, shared_data):
        volume = read_series(shared_data / "dicom" / "siemens_20")
        assert volume.grid.shape == (512, 512, 20)
        assert volume.grid.spacing_mm == (0.9765625, 0.9765625, 2.0)
        label = read_labels(
            shared_data / "dicom" / "siemens_20_label.nii.gz", LabelMap({"liver": (5,)}, rest_is_background=True)
        )
        assert not np.allclose(label.grid.affine, volume.grid.affine)  # LAS beside LPS
        image, image_affine = reorient(volume.voxels, volume.grid.affine)
        liver, label_affine = reorient(label.voxels, label.grid.affine)
        np.testing.assert_allclose(image_affine, label_affine, atol=1e-4)
        assert liver.sum() == 366708
        assert image[liver == 1].mean() == pytest.approx(89.30, abs=0.01)

    def test_padding_far_below_air_becomes_air(self, shared_data):
        volume = read_series(shared_data / "dicom" / "ge_3")
        assert volume.grid.shape == (512, 512, 3)
        assert volume.grid.spacing_mm == pytest.approx((0.810547, 0.810547, 1.0))
        assert (volume.voxels.dtype, volume.voxels.min(), volume.voxels.max()) == (np.int16, -1024, 1381)

    def test_uneven_tilted_series_is_refused_with_distances_and_tilt(self, shared_data):
        expected = (
            r"4.22 mm \(13 times\); 7.38 mm \(13 times\); 1.14 mm \(once\), with the gantry tilted by 18.5 degrees"
        )
        with pytest.raises(GeometryError, match=expected):
            read_series(shared_data / "dicom" / "ge_tilted_uneven")


def test_a_series_may_be_chosen_by_its_number(tmp_path):
    write_series(tmp_path, 2)
    write_series(tmp_path, 3, prefix="b", SeriesInstanceUID="1.2.3", SeriesNumber=7)
    report = {"Modality": "SR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11", "SeriesInstanceUID": "1.2.9"}
    write_slice(tmp_path / "r.dcm", None, None, **report, SeriesNumber=7)
    assert read_series(tmp_path, "7").grid.shape == (5, 6, 3)
    assert read_series(tmp_path, "04").grid.shape == (5, 6, 2)
    with pytest.raises(StudyError, match=r"one series with the number 5, found series 4 \(CT, 2 files\), series 7"):
        read_series(tmp_path, "5")
    write_series(tmp_path, 4, prefix="c", SeriesInstanceUID="1.2.4", SeriesNumber=7)
    with pytest.raises(StudyError, match=r"number 7, found series 7 \(CT, 3 files\), series 7 \(CT, 4 files\); .*UID"):
        read_series(tmp_path, "7")
