"""Headers as pydicom wrote them, in every encoding, and nothing believed that is cut short."""

from contextlib import suppress

import numpy as np
import pydicom
import pytest
from pydicom.sequence import Sequence

from medseg.errors import StudyError
from medseg.study.dicom.header import read_header
from tests.study.dicom_files import AXIAL, ORIGIN, SERIES_UID, stored, write_slice

SR = "1.2.840.10008.5.1.4.1.1.88.11"

SYNTAXES = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "big endian": "1.2.840.10008.1.2.2",
}


def rewrite(path, syntax):
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = syntax
    if syntax == SYNTAXES["big endian"]:  # the header only: pydicom does not turn the pixels
        pydicom.dcmwrite(path, data, implicit_vr=False, little_endian=False, force_encoding=True)
    else:
        data.save_as(path, implicit_vr=syntax == SYNTAXES["implicit"])
    return path


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
def test_every_encoding_says_the_same(tmp_path, syntax):
    path = write_slice(
        tmp_path / "a.dcm",
        stored(0),
        ORIGIN,
        PixelPaddingValue=-2000,
        PixelPaddingRangeLimit=-1990,
        TemporalPositionIdentifier=3,
    )
    header = read_header(rewrite(path, syntax))
    assert header.syntax == syntax
    assert (header.modality, header.image_type) == ("CT", ("ORIGINAL", "PRIMARY", "AXIAL"))
    assert (header.series_uid, header.series_number, header.temporal_position) == (SERIES_UID, "4", "3")
    assert (header.rows, header.columns, header.frames, header.samples, header.bits) == (6, 5, 1, 1, 16)
    assert (header.position, header.orientation, header.spacing) == (ORIGIN, AXIAL, (0.75, 0.5))
    assert (header.thickness, header.slope, header.intercept) == (3.0, 1.0, -1024.0)
    assert header.padding == (-2000, -1990)
    assert header.photometric == "MONOCHROME2"


def test_unsigned_padding_stays_positive(tmp_path):
    path = write_slice(tmp_path / "a.dcm", stored(0).astype(np.uint16), ORIGIN, PixelPaddingValue=63536)
    assert read_header(path).padding == (63536, 63536)


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
@pytest.mark.parametrize("undefined", [True, False])
def test_sequences_are_stepped_over_whatever_they_hold(tmp_path, syntax, undefined):
    inner = pydicom.Dataset()
    inner.Rows, inner.Modality = 99, "XX"
    outer = pydicom.Dataset()
    outer.ReferencedImageSequence = Sequence([inner, inner])
    outer["ReferencedImageSequence"].is_undefined_length = undefined
    path = write_slice(tmp_path / "a.dcm", stored(0), ORIGIN)
    data = pydicom.dcmread(path)
    data.ReferencedStudySequence = Sequence([outer])
    data["ReferencedStudySequence"].is_undefined_length = undefined
    outer.is_undefined_length_sequence_item = inner.is_undefined_length_sequence_item = undefined
    data.save_as(path)
    header = read_header(rewrite(path, syntax))
    assert (header.rows, header.modality) == (6, "CT")


def test_missing_elements_are_empty(tmp_path):
    path = write_slice(
        tmp_path / "a.dcm", None, None, Modality="SR", SOPClassUID=SR, RescaleSlope=None, SliceThickness=None
    )
    header = read_header(path)
    assert (header.rows, header.position, header.slope, header.thickness, header.padding) == (0, (), None, None, None)


@pytest.mark.parametrize("syntax", ["implicit", "explicit"])
def test_old_files_without_the_magic_word_are_read(tmp_path, syntax):
    path = rewrite(write_slice(tmp_path / "a.dcm", stored(0), ORIGIN), SYNTAXES[syntax])
    whole = path.read_bytes()
    start = whole.index(b"\x08\x00\x08\x00")
    path.write_bytes(whole[start:])
    header = read_header(path)
    assert (header.modality, header.rows, header.syntax) == ("CT", 6, "")


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"\x08\x00" * 500, b"\0" * 1000, bytes(range(256)) * 8, b"\x08\x00\x05\x00CS" + b"\0" * 500],
)
def test_other_files_are_no_dicom(tmp_path, content):
    path = tmp_path / "a"
    path.write_bytes(content)
    assert read_header(path) is None


def test_ct_image_without_pixels_is_broken(tmp_path):
    path = write_slice(tmp_path / "a.dcm", None, None)
    with pytest.raises(StudyError, match="a CT image without pixels"):
        read_header(path)


def test_header_cut_anywhere_is_broken_never_believed(tmp_path):
    path = write_slice(tmp_path / "a.dcm", stored(0), ORIGIN)
    whole = path.read_bytes()
    end = whole.index(b"\x28\x00\x53\x10")  # RescaleSlope, the last element of interest
    for length in range(132, end, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(StudyError, match="cut short or damaged"):
            read_header(path)


def test_damaged_bytes_are_read_or_refused_and_never_crash(tmp_path):
    path = write_slice(tmp_path / "a.dcm", stored(0), ORIGIN)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    read = 0
    for _ in range(300):
        damaged = whole.copy()
        damaged[rng.integers(132, len(whole), 4)] = rng.integers(0, 256, 4)
        path.write_bytes(damaged.tobytes())
        with suppress(StudyError):
            read_header(path)
            read += 1
    assert 0 < read < 300  # most of the bytes are pixels; some damage must be seen


@pytest.mark.parametrize("text", [b"1.0\\x\\2 ", b"nan\\1\\2 "])
def test_positions_that_are_no_numbers_are_broken(tmp_path, text):
    path = write_slice(tmp_path / "a.dcm", stored(0), (1, 2, 3))
    whole = path.read_bytes()
    place = whole.index(b"\x20\x00\x32\x00DS")
    length = int.from_bytes(whole[place + 6 : place + 8], "little")
    path.write_bytes(whole[: place + 8] + text.ljust(length)[:length] + whole[place + 8 + length :])
    with pytest.raises(StudyError, match="the position is no number"):
        read_header(path)
