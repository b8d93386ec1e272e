"""One slice in HU: rescaled, padding to air, damage and foreign kinds refused, all transfer syntaxes decoded."""

import numpy as np
import pydicom
import pytest

from medseg.errors import StudyError
from medseg.study.dicom.header import read_header
from medseg.study.dicom.pixels import read_slice
from tests.study.dicom_files import ORIGIN, stored, write_slice

LOSSLESS = {
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.5",
}
LARGEST_MEAN_ERROR_HU = {
    "1.2.840.10008.1.2.4.50": 20.0,  # 8 bits for 4096 HU: steps of 32
    "1.2.840.10008.1.2.4.51": 4.0,
    "1.2.840.10008.1.2.4.53": 4.0,
    "1.2.840.10008.1.2.4.55": 4.0,
    "1.2.840.10008.1.2.4.81": 2.0,
    "1.2.840.10008.1.2.4.91": 2.0,
}


def read(path):
    return read_slice(read_header(path), "study s1")


def test_axes_are_column_and_row(tmp_path):
    plane = read(write_slice(tmp_path / "a.dcm", stored(0), ORIGIN))
    assert (plane.dtype, plane.shape) == (np.int16, (5, 6))
    assert plane[3, 2] == 1000 + 20 + 3 - 1024


@pytest.mark.parametrize(("slope", "dtype"), [(2, np.int16), (0.5, np.float32)])
def test_rescale_is_applied(tmp_path, slope, dtype):
    plane = read(write_slice(tmp_path / "a.dcm", stored(0), ORIGIN, RescaleSlope=slope, RescaleIntercept=-1000))
    assert plane.dtype == dtype
    np.testing.assert_array_equal(plane, slope * stored(0).T.astype(float) - 1000)


def test_values_beyond_int16_stay_exact(tmp_path):
    pixels = stored(0).astype(np.uint16)
    pixels[0, 0] = 60000
    plane = read(write_slice(tmp_path / "a.dcm", pixels, ORIGIN))
    assert plane.dtype == np.float32
    assert plane[0, 0] == 60000 - 1024


def test_values_far_below_air_become_air_without_any_padding_element(tmp_path):
    pixels = stored(0)
    pixels[0] = -2000
    plane = read(write_slice(tmp_path / "a.dcm", pixels, ORIGIN))
    assert (plane[:, 0] == -1024).all()
    np.testing.assert_array_equal(plane[:, 1:], stored(0)[1:].T - 1024)


def test_padding_within_the_range_of_tissue_becomes_air(tmp_path):
    pixels = stored(0)
    pixels[0, 0], pixels[5, 4], pixels[5, 3] = 1024, 1026, 1027
    plane = read(write_slice(tmp_path / "a.dcm", pixels, ORIGIN, PixelPaddingValue=1024, PixelPaddingRangeLimit=1026))
    assert (plane[0, 0], plane[4, 5], plane[3, 5]) == (-1024, -1024, 3)


def test_padding_that_no_corner_holds_is_left_alone(tmp_path):
    """A padding value of water's own number, left in the header by software that pads nothing."""
    plane = read(write_slice(tmp_path / "a.dcm", stored(0), ORIGIN, PixelPaddingValue=1022))
    np.testing.assert_array_equal(plane, stored(0).T - 1024)


def test_colour_is_refused(tmp_path):
    path = write_slice(
        tmp_path / "a.dcm", np.zeros((4, 4, 3), np.uint16), ORIGIN, SamplesPerPixel=3, PhotometricInterpretation="RGB"
    )
    with pytest.raises(StudyError, match=r"study s1: a.dcm: expected one number a pixel, found colour \(RGB\)"):
        read(path)


def test_several_frames_are_refused(tmp_path):
    path = write_slice(tmp_path / "a.dcm", stored(0), ORIGIN, NumberOfFrames=3)
    with pytest.raises(StudyError, match=r"3 frames in one file; expected a file for each slice"):
        read(path)


def test_object_without_pixels_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"without pixels \(SR\)"):
        read(write_slice(tmp_path / "a.dcm", None, None, Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11"))


@pytest.mark.parametrize("cut", [1, 20, 59])
def test_cut_short_is_refused(tmp_path, cut):
    path = write_slice(tmp_path / "a.dcm", stored(0), ORIGIN)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(StudyError, match=r"a.dcm( cannot be decoded \(explicit|: 6 x 5 pixels promised)"):
        read(path)


def test_claimed_size_is_compared_with_the_file_before_room_is_made(tmp_path):
    path = write_slice(tmp_path / "a.dcm", stored(0), ORIGIN)
    data = pydicom.dcmread(path)
    data.Rows = data.Columns = 65535
    data.save_as(path)
    with pytest.raises(StudyError, match="65535 x 65535 pixels promised"):
        read(path)


def test_unknown_encoding_is_named(tmp_path):
    path = write_slice(tmp_path / "a.dcm", stored(0), ORIGIN)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0"))
    with pytest.raises(StudyError, match=r"cannot be decoded \(unknown transfer syntax, 1.2.840.10008.9.9.9\)"):
        read(path)


def test_all_transfer_syntaxes_decode_and_lossless_ones_agree_voxel_for_voxel(shared_data):
    folder = shared_data / "dicom" / "transfer_syntaxes"
    planes = {}
    for path in sorted(folder.glob("CTImage*")):
        header = read_header(path)
        planes[header.syntax] = read_slice(header, path.name)
    assert planes.keys() == LOSSLESS | LARGEST_MEAN_ERROR_HU.keys()
    reference = planes["1.2.840.10008.1.2.1"]
    assert (reference.dtype, reference.min(), reference.max()) == (np.int16, -1024, 1378)
    for syntax in LOSSLESS:
        np.testing.assert_array_equal(planes[syntax], reference)
    for syntax, limit in LARGEST_MEAN_ERROR_HU.items():
        assert 0 < np.abs(planes[syntax] - reference.astype(np.float32)).mean() < limit, syntax


@pytest.mark.parametrize(
    ("name", "words"), [("no-pixel-data.dcm", r"without pixels \(SR\)"), ("no-pixel-spacing.dcm", "found colour")]
)
def test_real_objects_that_are_no_ct_are_refused(shared_data, name, words):
    with pytest.raises(StudyError, match=words):
        read(shared_data / "dicom" / "transfer_syntaxes" / name)
