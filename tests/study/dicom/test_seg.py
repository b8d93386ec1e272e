"""DICOM-SEG objects, read back by the standard's own formula and compared with their source, voxel for voxel."""

import sys
from dataclasses import replace

import nibabel
import numpy as np
import pydicom
import pytest

from medseg.errors import GeometryError, StudyError
from medseg.study.dicom.seg import no_dicom_seg_because, write_dicom_seg
from medseg.types import DicomSource, Grid, Volume

NAMES = ("liver", "spleen", "liver_tumour")
OBLIQUE = (0.8, 0.6, 0.0, -0.48, 0.64, 0.6)
SLANTED_STEP = (0.36 * 3, -0.48 * 3, 0.8 * 3)  # along the normal of OBLIQUE


def lps(one, position, orientation, mask):
    """World positions (LPS, mm) of the pixels of a mask (rows, columns): PS3.3 C.7.6.2.1.1."""
    rows, columns = np.nonzero(mask)
    across, down = np.array(orientation, float).reshape(2, 3)
    row_mm, column_mm = map(float, one)
    return np.array(position, float) + columns[:, None] * column_mm * across + rows[:, None] * row_mm * down


def rounded(points):
    return sorted(map(tuple, np.round(np.concatenate(points), 2) + 0.0))


def frames_of(dataset):
    """(segment number, functional groups, pixels) of each frame; a group that all frames share stands aside of them."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    for frame, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        segment = groups if "SegmentIdentificationSequence" in groups else shared
        yield segment.SegmentIdentificationSequence[0].ReferencedSegmentNumber, groups, frame


def points_of_segments(dataset):
    """Segment number -> sorted world positions, from the functional groups of each frame."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    points = {}
    for number, groups, frame in frames_of(dataset):
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        points.setdefault(number, []).append(lps(spacing, position, orientation, frame))
    return {number: rounded(parts) for number, parts in points.items()}


def points_of_source(files, masks):
    """The same from the source's own files; masks are (rows, columns), one a file."""
    slices = [pydicom.dcmread(file) for file in files]
    return rounded(
        [
            lps(s.PixelSpacing, s.ImagePositionPatient, s.ImageOrientationPatient, m)
            for s, m in zip(slices, masks, strict=True)
        ]
    )


def as_array(dataset, volume):
    """Segments as class-like numbers (I, J, K), frames matched to slices by the instances that they name."""
    metas = [pydicom.filereader.read_file_meta_info(file) for file in volume.source.files]
    order = {meta.MediaStorageSOPInstanceUID: k for k, meta in enumerate(metas)}
    out = np.zeros(volume.grid.shape, np.uint8)
    for number, groups, frame in frames_of(dataset):
        k = order[groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        out[:, :, k][frame.T > 0] = number
    return out


def lopsided(shape=(7, 6, 5)):
    """HU with a long foot at high i, low j, low k: no mirroring and no turn leaves it in place."""
    hu = np.full(shape, -1000)
    hu[4:7, 0, 0] = hu[6, 0:2, 0] = hu[6, 0, 0:3] = 700
    hu[0, 3, 4] = 300
    return hu


@pytest.mark.parametrize(
    ("cosines", "step"),
    [
        ((1, 0, 0, 0, 1, 0), (0, 0, 3)),
        ((1, 0, 0, 0, 1, 0), (0, 0, -3)),  # files from the head down
        ((-1, 0, 0, 0, -1, 0), (0, 0, 3)),  # patient on the belly
        ((0, 1, 0, 0, 0, -1), (3, 0, 0)),  # sagittal
        (OBLIQUE, SLANTED_STEP),
        (OBLIQUE, np.negative(SLANTED_STEP)),
        ((1, 0, 0, 0, 1, 0), (0, 1, 3)),  # a tilted gantry whose slices were left as they are
    ],
    ids=["axial", "reversed", "prone", "sagittal", "oblique", "oblique reversed", "sheared"],
)
def test_segments_lie_where_the_source_shows_them(ct_series, tmp_path, cosines, step):
    volume = ct_series(lopsided(), cosines, step)
    classes = np.where(volume.voxels == 700, 1, np.where(volume.voxels == 300, 3, 0)).astype(np.uint8)
    write_dicom_seg(tmp_path / "s.dcm", classes, NAMES, volume, "s")
    dataset = pydicom.dcmread(tmp_path / "s.dcm")
    pixels = [pydicom.dcmread(file).pixel_array for file in volume.source.files]
    found = points_of_segments(dataset)
    assert found[1] == points_of_source(volume.source.files, [p == 700 for p in pixels])
    assert found[2] == points_of_source(volume.source.files, [p == 300 for p in pixels])
    assert (len(found[1]), len(found[2])) == (6, 1)
    np.testing.assert_array_equal(as_array(dataset, volume), np.where(classes == 3, 2, classes))


def test_left_front_and_foot_stay_so(ct_series, tmp_path):
    volume = ct_series(lopsided())  # axial, so LPS: i to the left, j to the back, k to the head
    write_dicom_seg(tmp_path / "s.dcm", (volume.voxels == 300).astype(np.uint8), NAMES, volume, "s")
    # voxel (0, 3, 4): x = -10, y = -20 + 3 * 2, z = 30 + 4 * 3
    assert points_of_segments(pydicom.dcmread(tmp_path / "s.dcm")) == {1: [(-10.0, -14.0, 42.0)]}
    np.testing.assert_array_equal(volume.grid.affine @ [0, 3, 4, 1], [10, 14, 42, 1])  # RAS


def test_a_single_slice_is_a_study_too(ct_series, tmp_path):
    volume = ct_series(lopsided()[:, :, :1])
    write_dicom_seg(tmp_path / "s.dcm", (volume.voxels == 700).astype(np.uint8), NAMES, volume, "s")
    dataset = pydicom.dcmread(tmp_path / "s.dcm")
    np.testing.assert_array_equal(as_array(dataset, volume), volume.voxels == 700)


def test_many_classes_are_numbered_without_gaps(ct_series, tmp_path):
    volume = ct_series(lopsided())
    classes = np.zeros(volume.grid.shape, np.uint8)
    classes[0, 0, 0], classes[1, 0, 0], classes[6, 5, 4] = 3, 90, 254
    write_dicom_seg(tmp_path / "s.dcm", classes, tuple(f"c{c}" for c in range(1, 255)), volume, "s")
    dataset = pydicom.dcmread(tmp_path / "s.dcm")
    assert [(s.SegmentNumber, s.SegmentLabel) for s in dataset.SegmentSequence] == [(1, "c3"), (2, "c90"), (3, "c254")]
    back = as_array(dataset, volume)
    assert (back[0, 0, 0], back[1, 0, 0], back[6, 5, 4], np.count_nonzero(back)) == (1, 2, 3, 3)


def test_highdicom_reads_the_same(ct_series, tmp_path):
    import highdicom

    volume = ct_series(lopsided())
    classes = (volume.voxels > 0).astype(np.uint8)
    write_dicom_seg(tmp_path / "s.dcm", classes, NAMES, volume, "s")
    whole = highdicom.seg.segread(tmp_path / "s.dcm").get_volume(combine_segments=True)
    ras = np.diag([-1, -1, 1, 1]) @ whole.affine  # highdicom speaks LPS, axes (slice, row, column)
    for k, row, column in np.argwhere(whole.array):
        i, j, k_ours = np.round(np.linalg.inv(volume.grid.affine) @ ras @ [k, row, column, 1])[:3].astype(int)
        assert classes[i, j, k_ours] == 1
    assert np.count_nonzero(whole.array) == np.count_nonzero(classes) == 7


def test_segments_say_what_they_are_and_patients_stay_in_their_modules(ct_series, tmp_path):
    volume = ct_series(lopsided())
    classes = np.where(volume.voxels == 700, 3, np.where(volume.voxels == 300, 1, 0)).astype(np.uint8)
    write_dicom_seg(tmp_path / "s.dcm", classes, NAMES, volume, "s", uid="1.2.3")
    dataset, source = pydicom.dcmread(tmp_path / "s.dcm"), pydicom.dcmread(volume.source.files[0])
    liver, tumour = dataset.SegmentSequence
    assert (dataset.SegmentationType, dataset.SOPInstanceUID) == ("BINARY", "1.2.3")
    assert (liver.SegmentNumber, liver.SegmentLabel) == (1, "liver")
    assert liver.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert (tumour.SegmentNumber, tumour.SegmentLabel) == (2, "liver_tumour")
    assert tumour.SegmentedPropertyTypeCodeSequence[0].CodeValue == "108369006"
    assert (liver.SegmentAlgorithmType, liver.SegmentAlgorithmName) == ("AUTOMATIC", "medseg")
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
        assert dataset[keyword].value == source[keyword].value
    assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
    assert "Doe" not in str(dataset.SeriesDescription) + str(dataset.ContentDescription) + str(dataset.ContentLabel)


def test_what_cannot_be_written_is_said_before(ct_series, tmp_path):
    volume = ct_series(lopsided())
    some = (volume.voxels > 0).astype(np.uint8)
    straightened = replace(volume, source=DicomSource(volume.source.files, straightened=True))
    assert no_dicom_seg_because(some, volume) == ""
    assert "not read from DICOM" in no_dicom_seg_because(some, replace(volume, source=None))
    assert "tilted slices were resampled" in no_dicom_seg_because(some, straightened)
    assert "nothing was segmented" in no_dicom_seg_because(some * 0, volume)
    with pytest.raises(StudyError, match=r"study s7: no DICOM-SEG was written: nothing was segmented"):
        write_dicom_seg(tmp_path / "s.dcm", some * 0, NAMES, volume, "s7")


@pytest.mark.parametrize("change", ["order", "mirrored", "transposed", "moved", "one less"])
def test_slices_that_are_not_the_images_are_refused(ct_series, tmp_path, change):
    volume = ct_series(lopsided((7, 7, 5)))
    some, files, affine = (volume.voxels > 0).astype(np.uint8), volume.source.files, volume.grid.affine.copy()
    if change == "order":
        files = files[::-1]
    elif change == "one less":
        files = files[:-1]
    elif change == "mirrored":
        affine[0, 0], affine[0, 3] = -affine[0, 0], affine[0, 3] + 6 * affine[0, 0]
    elif change == "transposed":
        affine = affine[:, [1, 0, 2, 3]]
    else:
        affine[1, 3] += 2
    other = Volume(volume.voxels, Grid((7, 7, 5), affine), source=DicomSource(files))
    with pytest.raises(GeometryError, match=r"study s: (slice 0 lies|expected a DICOM file for each of 5 slices)"):
        write_dicom_seg(tmp_path / "s.dcm", some, NAMES, other, "s")
    assert not (tmp_path / "s.dcm").exists()


def test_slices_without_patient_are_enough(ct_series, tmp_path):
    volume = ct_series(lopsided(), lacks=("PatientName", "PatientID", "PatientBirthDate", "StudyID", "AccessionNumber"))
    write_dicom_seg(tmp_path / "s.dcm", (volume.voxels > 0).astype(np.uint8), NAMES, volume, "s")
    assert pydicom.dcmread(tmp_path / "s.dcm").NumberOfFrames == 4


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"])
def test_slices_that_nothing_can_refer_to_are_said_before(ct_series, tmp_path, keyword):
    volume = ct_series(lopsided(), lacks=(keyword,))
    some = (volume.voxels > 0).astype(np.uint8)
    assert f"the slices have no {keyword}" in no_dicom_seg_because(some, volume)
    with pytest.raises(StudyError, match=f"study s: no DICOM-SEG was written: the slices have no {keyword}"):
        write_dicom_seg(tmp_path / "s.dcm", some, NAMES, volume, "s")


def test_slices_without_a_place_fail_with_the_study(ct_series, tmp_path):
    volume = ct_series(lopsided(), lacks=("PixelSpacing",))
    with pytest.raises(StudyError, match=r"study s: no DICOM-SEG can be made of these slices \(.*PixelSpacing"):
        write_dicom_seg(tmp_path / "s.dcm", (volume.voxels > 0).astype(np.uint8), NAMES, volume, "s")


def test_no_warning_quotes_a_patient(ct_series, tmp_path, recwarn, caplog):
    volume = ct_series(lopsided())
    for file in volume.source.files:
        one = pydicom.dcmread(file)
        one["PatientName"].value, one["PatientBirthDate"]._value = "Jane", "1.1.1960"
        one.save_as(file)
    recwarn.clear()
    caplog.clear()
    write_dicom_seg(tmp_path / "s.dcm", (volume.voxels > 0).astype(np.uint8), NAMES, volume, "s")
    assert [str(warning.message) for warning in recwarn] == []
    assert caplog.text == ""
    after = pydicom.dcmread(tmp_path / "s.dcm")
    assert (after.PatientName, after.PatientBirthDate) == ("Jane", "")  # empty is allowed, another form is not


def test_a_slice_that_is_gone_fails_with_the_study(ct_series, tmp_path):
    volume = ct_series(lopsided())
    volume.source.files[2].unlink()
    with pytest.raises(StudyError, match="study s: a slice of the image can no longer be read"):
        write_dicom_seg(tmp_path / "s.dcm", (volume.voxels > 0).astype(np.uint8), NAMES, volume, "s")


def test_without_highdicom_the_extra_is_named(ct_series, tmp_path, monkeypatch):
    volume = ct_series(lopsided())
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(StudyError, match=r"pip install 'medseg\[dicom\]'"):
        write_dicom_seg(tmp_path / "s.dcm", (volume.voxels > 0).astype(np.uint8), NAMES, volume, "s")


def volume_of(files):
    """A series' grid from its tags, without its voxels, which no DICOM-SEG needs."""
    slices = sorted(
        (pydicom.dcmread(f, stop_before_pixels=True) for f in files), key=lambda s: s.ImagePositionPatient[2]
    )
    first, last = slices[0], slices[-1]
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.ImageOrientationPatient[:3]) * first.PixelSpacing[1]
    affine[:3, 1] = np.array(first.ImageOrientationPatient[3:]) * first.PixelSpacing[0]
    affine[:3, 3] = first.ImagePositionPatient
    affine[:3, 2] = (np.array(last.ImagePositionPatient) - affine[:3, 3]) / (len(slices) - 1)
    affine[:2] *= -1
    shape = (first.Columns, first.Rows, len(slices))
    return Volume(np.zeros(shape, np.int8), Grid(shape, affine), source=DicomSource(tuple(s.filename for s in slices)))


def test_real_series_with_its_label_comes_back(shared_data, tmp_path):
    # Anonymised beyond use: without UIDs of study and series. They are given anew; those of the slices are found.
    for file in (shared_data / "dicom" / "siemens_20").iterdir():
        one = pydicom.dcmread(file, stop_before_pixels=True)
        one.StudyInstanceUID, one.SeriesInstanceUID = "1.2.3", "1.2.3.4"
        one.save_as(tmp_path / file.name)
    volume = volume_of(tmp_path.iterdir())
    label = nibabel.load(shared_data / "dicom" / "siemens_20_label.nii.gz")
    # the label file's voxels, moved onto the volume's by their world positions
    move = np.linalg.inv(label.affine) @ volume.grid.affine
    assert np.allclose(move, np.round(move), atol=1e-3)
    where = np.round(move[:3, :3] @ np.indices(volume.grid.shape).reshape(3, -1) + move[:3, 3:]).astype(int)
    classes = (np.asarray(label.dataobj)[tuple(where)] == 5).astype(np.uint8).reshape(volume.grid.shape)
    assert np.count_nonzero(classes) == 366_708
    write_dicom_seg(tmp_path / "s.dcm", classes, ("liver",), volume, "s")
    dataset = pydicom.dcmread(tmp_path / "s.dcm")
    np.testing.assert_array_equal(as_array(dataset, volume), classes)
    voxels = np.argwhere(np.asarray(label.dataobj) == 5)
    centre_of_label = (label.affine[:3, :3] @ voxels.mean(axis=0) + label.affine[:3, 3]) * (-1, -1, 1)
    np.testing.assert_allclose(np.mean(points_of_segments(dataset)[1], axis=0), centre_of_label, atol=0.02)


def test_real_series_without_uids_is_said_before(shared_data):
    volume = volume_of((shared_data / "dicom" / "siemens_20").iterdir())
    reason = no_dicom_seg_because(np.ones(volume.grid.shape, np.uint8), volume)
    assert "the slices have no StudyInstanceUID, SeriesInstanceUID, so" in reason


def test_this_reading_agrees_with_a_published_dicom_seg(shared_data, tmp_path):
    """What the tests above read back by is right: it reads a peer's object as the NRRD beside it, and ours the same."""
    import SimpleITK

    folder = shared_data / "dicom"
    volume = volume_of((folder / "ge_3").iterdir())
    published = pydicom.dcmread(folder / "ge_3_liver_dicomseg.dcm")
    nrrd = SimpleITK.ReadImage(str(folder / "ge_3_liver_label.nrrd"))
    labels = SimpleITK.GetArrayFromImage(nrrd)
    theirs = as_array(published, volume)
    assert np.count_nonzero(theirs) == np.count_nonzero(labels) == 107_098
    first = volume.grid.affine[:3, 3] * (-1, -1, 1)
    np.testing.assert_allclose(nrrd.GetOrigin(), first, atol=1e-3)  # so the NRRD has the volume's order
    np.testing.assert_array_equal(theirs, labels.T > 0)
    write_dicom_seg(tmp_path / "s.dcm", theirs, ("liver",), volume, "s")
    ours = pydicom.dcmread(tmp_path / "s.dcm")
    np.testing.assert_array_equal(as_array(ours, volume), theirs)
    assert points_of_segments(ours) == points_of_segments(published)
