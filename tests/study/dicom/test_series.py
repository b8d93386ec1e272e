"""Which files belong together, and which of them are a CT."""

import pytest

from medseg.study.dicom.series import NO_UID, images_of, is_dicom_folder, named, scan_files, why_no_ct
from tests.study.dicom_files import ORIGIN, SERIES_UID, stored, write_localiser, write_series, write_slice

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"


def test_series_are_told_apart_by_their_uid_and_junk_is_passed_over(tmp_path):
    files = write_series(tmp_path, 2)
    write_series(tmp_path, 3, prefix="b", SeriesInstanceUID="1.2.3")
    write_slice(tmp_path / "z", stored(0), ORIGIN, SeriesInstanceUID="")
    (tmp_path / "readme.txt").write_text("not DICOM")
    (tmp_path / "._000.dcm").write_bytes(files[0].read_bytes())
    (tmp_path / "folder").mkdir()
    scan = scan_files(tmp_path.iterdir())
    assert {uid: len(headers) for uid, headers in scan.series.items()} == {SERIES_UID: 2, "1.2.3": 3, NO_UID: 1}
    assert [header.path for header in scan.series[SERIES_UID]] == files
    assert scan.broken == {}


def test_broken_files_are_listed(tmp_path):
    files = write_series(tmp_path, 3)
    files[0].write_bytes(b"")
    files[1].write_bytes(files[1].read_bytes()[:400])
    scan = scan_files(tmp_path.iterdir())
    assert list(scan.broken) == files[:2]
    assert "no DICOM, though its name says so" in scan.broken[files[0]]
    assert "cut short" in scan.broken[files[1]]
    assert list(scan.series) == [SERIES_UID]


@pytest.mark.parametrize(
    ("elements", "why"),
    [
        ({}, ""),
        ({"Modality": "MR"}, ""),
        ({"Modality": "SEG"}, "SEG, no CT"),
        ({"Modality": "PT"}, "PT, no CT"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localiser"),
        (
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "ImagePositionPatient": None},
            "a screenshot (secondary capture)",
        ),
    ],
)
def test_what_is_no_ct_says_why(tmp_path, elements, why):
    position = None if "ImagePositionPatient" in elements else ORIGIN
    elements = {key: value for key, value in elements.items() if value is not None}
    path = write_slice(tmp_path / "a.dcm", stored(0), position, **elements)
    (headers,) = scan_files([path]).series.values()
    assert why_no_ct(headers) == why


def test_object_without_pixels_is_no_ct(tmp_path):
    path = write_slice(tmp_path / "a.dcm", None, None, Modality="RTSTRUCT", SOPClassUID=RTSTRUCT, SeriesNumber=12)
    (headers,) = scan_files([path]).series.values()
    assert why_no_ct(headers) == "RTSTRUCT without pixels"
    assert named(headers) == "series 12 (RTSTRUCT, 1 file)"


def test_localisers_are_no_slices(tmp_path):
    files = write_series(tmp_path, 2)
    write_localiser(tmp_path / "scout.dcm")
    (headers,) = scan_files(tmp_path.iterdir()).series.values()
    assert [header.path for header in images_of(headers)] == files
    assert why_no_ct(headers) == ""


def test_folder_is_dicom_where_a_file_right_in_it_is(tmp_path):
    write_series(tmp_path / "a" / "b", 1)
    assert is_dicom_folder(tmp_path / "a" / "b")
    assert not is_dicom_folder(tmp_path / "a")
    assert not is_dicom_folder(tmp_path / "none")
