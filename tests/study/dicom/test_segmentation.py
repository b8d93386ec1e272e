"""What a DICOM-SEG file holds, and the files that are none."""

import sys

import numpy as np
import pydicom
import pytest

from medseg.errors import StudyError
from medseg.study.dicom.segmentation import find_segmentation, is_segmentation, read_segmentation
from tests.study.dicom_files import write_series
from tests.study.seg_files import LABELMAP, write_seg

RNG = np.random.default_rng(5)
ODD = RNG.integers(0, 2, (3, 5, 7))  # 35 pixels: the second frame begins in the middle of a byte


def planes(pixels=ODD, segment=1):
    return [(segment, (-10, 20, 30 + 2 * k), frame) for k, frame in enumerate(pixels)]


def test_frames_of_single_bits_come_back_whatever_their_size(tmp_path):
    found = read_segmentation(write_seg(tmp_path / "s.dcm", planes(), {1: "Liver"}), "s")
    assert dict(found.segments) == {1: "Liver"}
    assert (found.shape, found.spacing_mm, found.thickness_mm) == ((7, 5), None, None)
    for frame, stored in zip(found.frames, ODD, strict=True):
        np.testing.assert_array_equal(found.pixels(frame), stored.T == 1)


def test_frames_say_where_they_lie(tmp_path):
    measures = {"SpacingBetweenSlices": 2, "SliceThickness": 3}
    found = read_segmentation(write_seg(tmp_path / "s.dcm", planes(), {1: "Liver"}, measures=measures), "s")
    assert (found.spacing_mm, found.thickness_mm) == (2, 3)
    assert [(f.index, f.segment) for f in found.frames] == [(0, 1), (1, 1), (2, 1)]
    # LPS (-10, 20, 34), 0.5 mm from column to column, 0.75 mm from row to row; RAS turns x and y around
    np.testing.assert_allclose(
        found.frames[2].affine, [[-0.5, 0, 0, 10], [0, -0.75, 0, -20], [0, 0, 1, 34], [0, 0, 0, 1]]
    )


def test_pixels_of_a_label_map_are_numbers(tmp_path):
    pixels = RNG.integers(0, 200, (2, 5, 7))
    path = write_seg(tmp_path / "s.dcm", planes(pixels, 0), {150: "Liver"}, sop_class=LABELMAP)
    found = read_segmentation(path, "s")
    assert [frame.segment for frame in found.frames] == [0, 0]
    np.testing.assert_array_equal(found.pixels(found.frames[1]), pixels[1].T)


def test_fractions_of_nothing_and_all_are_a_mask(tmp_path):
    elements = {"SegmentationType": "FRACTIONAL", "MaximumFractionalValue": 100}
    whole = read_segmentation(write_seg(tmp_path / "s.dcm", planes(ODD * 100), {1: "Liver"}, **elements), "s")
    np.testing.assert_array_equal(whole.pixels(whole.frames[1]), ODD[1].T == 1)
    half = ODD * 100
    half[1, 2, 3] = half[1, 4, 4] = 50
    parts = read_segmentation(write_seg(tmp_path / "s.dcm", planes(half), {1: "Liver"}, **elements), "study a")
    with pytest.raises(StudyError, match=r"^study a: expected each voxel .*, found 2 voxels with fractions in frame 2"):
        parts.pixels(parts.frames[1])


def test_compressed_frames_are_decoded(tmp_path):
    pixels = RNG.integers(0, 3, (2, 5, 7))
    path = write_seg(tmp_path / "s.dcm", planes(pixels, 0), {1: "Liver", 2: "Spleen"}, sop_class=LABELMAP)
    data = pydicom.dcmread(path)
    data.compress(pydicom.uid.RLELossless)
    data.save_as(path)
    found = read_segmentation(path, "s")
    np.testing.assert_array_equal(found.pixels(found.frames[1]), pixels[1].T)


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "Modality": "CT"}, "expected a DICOM-SEG, found CT"),
        ({"SegmentSequence": None}, "lacks what it needs .*SegmentSequence"),
        ({"SharedFunctionalGroupsSequence": None}, "lacks what it needs .no PlaneOrientationSequence"),
        ({"PerFrameFunctionalGroupsSequence": None}, "lacks what it needs"),
        ({"NumberOfFrames": 4}, "lacks what it needs .4 frames, the places of 3"),
    ],
)
def test_objects_that_cannot_be_used_say_why(tmp_path, elements, message):
    path = write_seg(tmp_path / "s.dcm", planes(), {1: "Liver"}, **elements)
    with pytest.raises(StudyError, match=f"^study a: .*{message}"):
        read_segmentation(path, "study a")


def test_files_that_are_no_dicom_or_not_there(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"no DICOM at all")
    with pytest.raises(StudyError, match=r"^a: expected a DICOM-SEG, could not read it"):
        read_segmentation(tmp_path / "a.dcm", "a")
    with pytest.raises(StudyError, match=r"^a: no such file"):
        read_segmentation(tmp_path / "b.dcm", "a")


def test_a_file_that_is_cut_short_fails_with_its_study(tmp_path):
    path = write_seg(tmp_path / "s.dcm", planes(), {1: "Liver"})
    data = pydicom.dcmread(path)
    data.PixelData = data.PixelData[:6]
    data.save_as(path)
    found = read_segmentation(path, "study a")
    with pytest.raises(StudyError, match=r"^study a: frame 3 cannot be decoded \(the file ends before it\)"):
        found.pixels(found.frames[2])


def test_without_pydicom_it_is_said_what_to_install(tmp_path, monkeypatch):
    path = write_seg(tmp_path / "s.dcm", planes(), {1: "Liver"})
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(StudyError, match=r"^s: a DICOM-SEG needs pydicom.*pip install 'medseg\[dicom\]'"):
        read_segmentation(path, "s")


def test_a_folder_stands_for_the_one_segmentation_in_it(tmp_path):
    write_series(tmp_path, 2)
    path = write_seg(tmp_path / "seg", planes(), {1: "Liver"})
    assert find_segmentation(tmp_path, "s") == path
    assert find_segmentation(path, "s") == path
    write_seg(tmp_path / "seg2", planes(), {1: "Liver"})
    with pytest.raises(StudyError, match=r"^s: expected one DICOM-SEG in the folder, found 2 \(seg, seg2\)"):
        find_segmentation(tmp_path, "s")


def test_a_folder_without_one_says_what_it_holds(tmp_path):
    with pytest.raises(StudyError, match=r"^s: expected a DICOM-SEG in the folder, found no DICOM"):
        find_segmentation(tmp_path, "s")
    write_series(tmp_path, 2)
    with pytest.raises(StudyError, match=r"found series 4 \(CT, 2 files\)"):
        find_segmentation(tmp_path, "s")


def test_segmentations_are_known_by_their_header(tmp_path):
    write_series(tmp_path, 1)
    write_seg(tmp_path / "s.dcm", planes(), {1: "Liver"})
    write_seg(tmp_path / "s.nii", planes(), {1: "Liver"})
    assert [p.name for p in sorted(tmp_path.iterdir()) if is_segmentation(p)] == ["s.dcm"]


def test_no_warning_quotes_a_patient(tmp_path, recwarn, caplog):
    path = write_seg(tmp_path / "s.dcm", planes(), {1: "Liver"}, PatientBirthDate="1.1.1960", PatientID="x" * 80)
    recwarn.clear()
    caplog.clear()
    found = read_segmentation(path, "s")
    found.pixels(found.frames[0])
    assert [str(warning.message) for warning in recwarn] == []
    assert caplog.text == ""


@pytest.mark.parametrize("deflated", [True, False])
def test_damaged_files_fail_with_their_study_and_nothing_else(tmp_path, deflated):
    path = write_seg(tmp_path / "s.dcm", planes(), {1: "Liver"})
    if deflated:
        data = pydicom.dcmread(path)
        data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        data.save_as(path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for number in range(150):
        damaged = bytearray(whole)
        if number % 3:
            damaged[int(rng.integers(132, len(whole)))] = int(rng.integers(256))
        else:
            del damaged[int(rng.integers(132, len(whole))) :]
        path.write_bytes(damaged)
        try:
            read = read_segmentation(path, "study a")
            list(map(read.pixels, read.frames))
        except StudyError as error:
            assert str(error).startswith("study a: ")  # noqa: PT017
            refused += 1
    assert refused > 50
