"""Studies are found wherever they lie, under ids that name files, and read whatever their format."""

import logging
import os
import re

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import ManifestError, StudyError
from medseg.study.dicom.series import NO_UID
from medseg.study.inputs import find_inputs, read_input
from medseg.study.manifest import STUDY_ID, read_manifest
from medseg.study.nifti import write_image
from medseg.types import Grid, StudyInput
from tests.study.dicom_files import ORIGIN, SERIES_UID, hu, stored, write_localiser, write_series, write_slice

VOXELS = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
SR = "1.2.840.10008.5.1.4.1.1.88.11"


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def ids(*args, **options):
    return [study.study_id for study in find_inputs(*args, **options)]


class TestFiles:
    """As NIfTI, NRRD and MetaImage files lie in folders."""

    @pytest.mark.parametrize(
        ("name", "study_id"),
        [
            ("a.nii", "a"),
            ("b.v2.nii.gz", "b.v2"),
            ("c.nii.nii.gz", "c.nii"),
            ("d", "d"),
            ("e.nrrd", "e"),
            ("F.MHA", "F"),
            ("Müller, 3.nii", "M_ller__3"),
            (".g.nii", "_.g"),
        ],
    )
    def test_file_is_named_without_its_suffix(self, tmp_path, name, study_id):
        touch(tmp_path, name)
        assert find_inputs(tmp_path / name) == [StudyInput(study_id, tmp_path / name)]
        assert STUDY_ID.fullmatch(study_id)

    def test_folder_is_searched_in_depth_and_only_for_images(self, tmp_path):
        touch(
            tmp_path, "b.nii", "a/x.nii.gz", "a/b/x.mha", "a/x.json", "y.niix", "._b.nii", ".part.b.nii.gz", ".h/c.nii"
        )
        (tmp_path / "z.nii").mkdir()
        assert find_inputs(tmp_path) == [
            StudyInput("a__b__x", tmp_path / "a/b/x.mha"),
            StudyInput("a__x", tmp_path / "a/x.nii.gz"),
            StudyInput("b", tmp_path / "b.nii"),
        ]

    def test_voxels_of_a_detached_header_are_no_input(self, tmp_path):
        touch(tmp_path, "a.raw", "voxels.nrrd")
        (tmp_path / "a.mhd").write_text("NDims = 3\nElementDataFile = a.raw\n")
        (tmp_path / "b.nhdr").write_text("NRRD0004\nsizes: 2 3 4\ndata file: voxels.nrrd\n\n")
        assert ids(tmp_path) == ["a", "b"]

    def test_files_of_the_output_folder_are_no_inputs(self, tmp_path):
        touch(tmp_path, "a.nii", "out/a.nii.gz", "outer/a.nii.gz")
        assert ids(tmp_path, exclude=tmp_path / "out") == ["a", "outer__a"]
        assert ids(tmp_path, exclude=tmp_path) == ["a", "out__a", "outer__a"]

    def test_broken_link_stays_and_a_loop_of_links_ends(self, tmp_path):
        (tmp_path / "gone.nii").symlink_to(tmp_path / "nowhere.nii")
        (tmp_path / "loop").symlink_to(tmp_path)
        (tmp_path / "self.nii").symlink_to(tmp_path / "self.nii")
        assert ids(tmp_path) == ["gone", "self"]

    @pytest.mark.parametrize(
        "names", [("x.nii", "x.nii.gz"), ("x.nrrd", "x.nii"), ("a__x.nii", "a/x.nii"), ("a b.nii", "a_b.nii")]
    )
    def test_two_inputs_of_one_id_are_refused(self, tmp_path, names):
        touch(tmp_path, *names)
        with pytest.raises(ManifestError, match="would both become"):
            find_inputs(tmp_path)

    def test_nothing_to_segment_is_an_error(self, tmp_path):
        touch(tmp_path, "notes.txt")
        with pytest.raises(ManifestError, match="files in this folder, found none"):
            find_inputs(tmp_path)
        with pytest.raises(ManifestError, match="does not exist"):
            find_inputs(tmp_path / "missing")


class TestManifest:
    """Rows name files, or folders of DICOM."""

    def test_gives_its_ids_and_missing_images_are_left_to_the_study(self, tmp_path):
        touch(tmp_path, "images/1.nii")
        manifest = tmp_path / "m.csv"
        manifest.write_text("study_id,subject_id,fold,image,label\ns1,,0,images/1.nii,\ns2,,,images/2.nii,\n")
        first, second = find_inputs(manifest)
        assert first == StudyInput("s1", tmp_path / "images/1.nii")
        assert second == StudyInput("s2", tmp_path / "images/2.nii")
        assert find_inputs(manifest, tmp_path / "other")[1].path == tmp_path / "other/images/2.nii"

    def test_row_may_name_a_dicom_folder(self, tmp_path):
        write_series(tmp_path / "ct", 3)
        manifest = tmp_path / "m.csv"
        manifest.write_text("study_id,subject_id,fold,image,label\ns1,,0,ct,\n")
        (study,) = find_inputs(manifest)
        np.testing.assert_array_equal(read_input(study).voxels, hu(3))
        assert len(read_manifest(manifest, tmp_path)) == 1

    def test_folder_without_dicom_is_a_mistake_in_the_manifest(self, tmp_path):
        touch(tmp_path, "ct/notes.txt")
        manifest = tmp_path / "m.csv"
        manifest.write_text("study_id,subject_id,fold,image,label\ns1,,0,ct,\n")
        with pytest.raises(ManifestError, match="no DICOM file in the folder 'ct'"):
            read_manifest(manifest, tmp_path)

    def test_paths_may_not_leave_the_root(self, tmp_path):
        write_series(tmp_path / "ct", 2)
        manifest = tmp_path / "root" / "m.csv"
        touch(tmp_path, "root/m.csv")
        manifest.write_text("study_id,subject_id,fold,image,label\ns1,,0,../ct,\n")
        with pytest.raises(ManifestError, match="leaves the root"):
            find_inputs(manifest)


class TestDicom:
    """Series are told apart, other objects left out, broken files no reason to stop."""

    def test_folder_of_one_series_has_the_folders_name(self, tmp_path):
        write_series(tmp_path / "case 7", 2)
        assert find_inputs(tmp_path / "case 7") == [StudyInput("case_7", tmp_path / "case 7", SERIES_UID)]

    def test_tree_joins_the_folders(self, tmp_path):
        write_series(tmp_path / "p1" / "ct", 2)
        write_series(tmp_path / "p2" / "ct", 2)
        touch(tmp_path, "p2/ct.v2.nii")
        assert ids(tmp_path) == ["p1__ct", "p2__ct", "p2__ct.v2"]

    def test_several_series_have_their_number_and_equal_numbers_a_suffix(self, tmp_path):
        write_series(tmp_path / "ct", 2)
        write_series(tmp_path / "ct", 3, prefix="b", SeriesInstanceUID="1.3", SeriesNumber=4)
        write_series(tmp_path / "ct", 4, prefix="c", SeriesInstanceUID="1.2", SeriesNumber=11)
        write_series(tmp_path / "ct", 5, prefix="d", SeriesInstanceUID="", SeriesNumber=None)
        found = {study.study_id: study for study in find_inputs(tmp_path)}
        assert {name: study.series_uid for name, study in found.items()} == {
            "ct__s0": NO_UID,
            "ct__s11": "1.2",
            "ct__s4": SERIES_UID,
            "ct__s4_2": "1.3",
        }
        assert [read_input(found[name]).grid.shape[2] for name in sorted(found)] == [5, 4, 2, 3]

    def test_file_stands_for_its_series(self, tmp_path):
        files = write_series(tmp_path / "ct", 3)
        other = write_series(tmp_path / "ct", 2, prefix="b", SeriesInstanceUID="1.3", SeriesNumber=5)
        assert find_inputs(files[1]) == [StudyInput("ct__s4", tmp_path / "ct", SERIES_UID)]
        assert find_inputs(other[0]) == [StudyInput("ct__s5", tmp_path / "ct", "1.3")]
        np.testing.assert_array_equal(read_input(StudyInput("x", files[0])).voxels, hu(3))

    def test_what_is_no_ct_is_left_out_and_said(self, tmp_path, caplog):
        write_series(tmp_path / "ct", 2)
        write_slice(tmp_path / "ct" / "r.dcm", None, None, Modality="SR", SOPClassUID=SR, SeriesInstanceUID="1.3")
        write_localiser(tmp_path / "ct" / "s.dcm", SeriesInstanceUID="1.4", SeriesNumber=1)
        with caplog.at_level(logging.INFO):
            assert ids(tmp_path) == ["ct"]
        assert [record.getMessage() for record in caplog.records] == [
            "ct: series 4 (SR, 1 file): SR without pixels left out",
            "ct: series 1 (CT, 1 file): a localiser left out",
        ]

    def test_only_other_objects_are_an_error_that_names_them(self, tmp_path):
        path = write_slice(tmp_path / "r.dcm", None, None, Modality="SR", SOPClassUID=SR)
        for source in (tmp_path, path):
            with pytest.raises(ManifestError, match=r"found none.*series 4 \(SR, 1 file\): SR without pixels"):
                find_inputs(source)

    def test_broken_files_are_reported_and_their_folder_fails_as_a_study(self, tmp_path, caplog):
        good = write_series(tmp_path / "good", 3)
        good[0].write_bytes(good[0].read_bytes()[:200])
        touch(tmp_path, "bad/1.dcm", "bad/2.dcm")
        bad, read = find_inputs(tmp_path)
        assert (bad.study_id, read.study_id) == ("bad", "good")
        assert "good: 1 broken DICOM files (000.dcm" in caplog.text
        with pytest.raises(StudyError, match=r"study good .*: 1 broken files lie among its slices"):
            read_input(read)
        with pytest.raises(StudyError, match=r"study bad .*found 2 broken files"):
            read_input(bad)

    def test_no_patient_is_named_anywhere(self, tmp_path, caplog):
        write_series(tmp_path / "ct", 2)
        write_series(tmp_path / "ct", 2, prefix="b", SeriesInstanceUID="1.2.19700101", SeriesNumber=5)
        write_localiser(tmp_path / "ct" / "s.dcm", SeriesInstanceUID="1.2.19700102")
        touch(tmp_path, "ct/x.dcm")
        with caplog.at_level(logging.DEBUG):
            names = " ".join(ids(tmp_path))
        assert len(caplog.records) == 2
        assert not re.search("secret|1970|1[.]2[.]", names + caplog.text, re.IGNORECASE)


class TestReading:
    """One volume, whatever the format."""

    def test_all_formats_give_one_volume(self, tmp_path):
        affine = np.diag([-0.5, -0.75, 2.0, 1.0])
        write_image(tmp_path / "a.nii.gz", VOXELS, Grid((2, 3, 4), affine))
        image = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
        for name in ("b.nrrd", "c.mha", "d.mhd", "e.nhdr"):
            sitk.WriteImage(image, str(tmp_path / name))
        for k in range(4):
            write_slice(tmp_path / "f" / f"{k}", VOXELS[..., k].T + np.int16(1024), (0, 0, 2 * k))
        found = find_inputs(tmp_path)
        assert [study.study_id for study in found] == ["a", "b", "c", "d", "e", "f"]
        for study in found:
            volume = read_input(study)
            assert volume.voxels.dtype == np.int16
            np.testing.assert_array_equal(volume.voxels, VOXELS)
            np.testing.assert_allclose(volume.grid.affine, affine, atol=1e-6)
        assert (read_input(found[0]).header is not None, len(volume.source.files)) == (True, 4)

    @pytest.mark.parametrize("name", ["x.nii.gz", "x.nrrd", "x.mhd", "x", "folder"])
    def test_errors_name_the_study(self, tmp_path, name):
        (tmp_path / "folder").mkdir()
        with pytest.raises(StudyError, match=r"^study s1 "):
            read_input(StudyInput("s1", tmp_path / name))

    def test_file_of_another_kind_is_refused(self, tmp_path):
        path = tmp_path / "a.jpg"
        path.write_bytes(os.urandom(2000))
        with pytest.raises(StudyError, match="not a NIfTI file"):
            read_input(StudyInput("s1", path))

    def test_broken_dicom_file_is_refused(self, tmp_path):
        path = write_slice(tmp_path / "a.dcm", stored(0), ORIGIN)
        path.write_bytes(path.read_bytes()[:300])
        with pytest.raises(StudyError, match=r"^study s1 .*DICOM header is cut short"):
            read_input(StudyInput("s1", path))
