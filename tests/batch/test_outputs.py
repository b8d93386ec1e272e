"""A study's files: which, what is in them, and that they appear together or not at all."""

import errno
import json
from dataclasses import replace

import nibabel
import numpy as np
import pydicom
import pytest

from medseg.batch.outputs import full_request, require_outputs, safe_names, write_outputs
from medseg.batch.writers import WRITERS
from medseg.errors import ConfigError, StudyError
from medseg.inference.request import Request
from medseg.inference.result import Segmentation
from medseg.types import Grid, Volume

NAMES = ("liver", "liver tumour")
GRID = Grid((4, 3, 5), np.diag([1.0, 2.0, 5.0, 1.0]))


def segmentation(**more):
    classes = np.zeros(GRID.shape, np.uint8)
    classes[1:3, 1, 1:4] = 1
    classes[1, 1, 1] = 2
    return Segmentation(classes, NAMES, **more)


IMAGE = Volume(np.full(GRID.shape, 40, np.int16), GRID)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def voxels(path):
    return np.asarray(nibabel.load(path).dataobj)


def test_a_label_map_and_a_document(tmp_path):
    place = write_outputs(segmentation(), IMAGE, tmp_path / "out", "s1", ["document"], model="abc")
    assert place == tmp_path / "out" / "s1.nii.gz"
    assert names_in(tmp_path / "out") == ["s1.json", "s1.nii.gz"]
    np.testing.assert_array_equal(voxels(place), segmentation().classes)
    (comment,) = nibabel.load(place).header.extensions
    assert json.loads(comment.content) == {"labels": {"1": "liver", "2": "liver tumour"}}
    document = json.loads((tmp_path / "out" / "s1.json").read_text())
    assert (document["study_id"], document["model"], document["files"]) == ("s1", "abc", ["s1.nii.gz"])
    assert [row["voxels"] for row in document["classes"]] == [5, 1]
    assert str(tmp_path) not in (tmp_path / "out" / "s1.json").read_text()


def test_label_map_alone(tmp_path):
    write_outputs(segmentation(), IMAGE, tmp_path, "s1")
    assert names_in(tmp_path) == ["s1.nii.gz"]


def test_everything(tmp_path, ct_series):
    hu = np.zeros(GRID.shape)
    ones = np.full(GRID.shape, 255, np.uint8)
    whole = segmentation(probabilities={"liver tumour": ones}, uncertainty=ones // 5, notes=("first",))
    image, wanted = ct_series(hu, folder=tmp_path / "in"), ["document", "masks", "dicom_seg"]
    write_outputs(whole, image, tmp_path / "out", "s1", wanted, lesions=["liver tumour"])
    out = tmp_path / "out"
    files = ["s1.dcm", "s1.json", "s1.nii.gz", "s1__liver.nii.gz", "s1__liver_tumour.nii.gz"]
    files += ["s1__probability_liver_tumour.nii.gz", "s1__uncertainty.nii.gz"]
    assert names_in(out) == files
    np.testing.assert_array_equal(voxels(out / "s1__liver.nii.gz"), whole.classes == 1)
    np.testing.assert_array_equal(voxels(out / "s1__liver_tumour.nii.gz"), whole.classes == 2)
    assert np.unique(voxels(out / "s1__probability_liver_tumour.nii.gz")).tolist() == pytest.approx([1.0])
    assert np.unique(voxels(out / "s1__uncertainty.nii.gz")).tolist() == pytest.approx([0.2])
    assert len(pydicom.dcmread(out / "s1.dcm").SegmentSequence) == 2
    document = json.loads((out / "s1.json").read_text())
    assert sorted(document["files"]) == [name for name in files if name != "s1.json"]
    assert document["lesions"]["liver tumour"]["lesions"][0]["voxels"] == 1
    assert document["lesions"]["liver tumour"]["lesions"][0]["mean_uncertainty"] == 0.2
    assert document["notes"] == ["first"]
    for keyword in ("Doe", "4711"):
        assert keyword not in (out / "s1.json").read_text()


def test_a_dicom_seg_of_no_dicom_is_a_note(tmp_path):
    write_outputs(segmentation(notes=("first",)), IMAGE, tmp_path, "s1", ["document", "dicom_seg"])
    assert names_in(tmp_path) == ["s1.json", "s1.nii.gz"]
    notes = json.loads((tmp_path / "s1.json").read_text())["notes"]
    assert notes == ["first", "no DICOM-SEG was written: the image was not read from DICOM"]


def test_an_empty_segmentation_has_all_but_the_dicom_seg(tmp_path, ct_series):
    empty = Segmentation(np.zeros(GRID.shape, np.uint8), NAMES)
    image = ct_series(np.zeros(GRID.shape), folder=tmp_path / "in")
    write_outputs(empty, image, tmp_path / "out", "s1", ["document", "masks", "dicom_seg"])
    assert names_in(tmp_path / "out") == ["s1.json", "s1.nii.gz", "s1__liver.nii.gz", "s1__liver_tumour.nii.gz"]
    assert not voxels(tmp_path / "out" / "s1__liver.nii.gz").any()
    assert "nothing was segmented" in (tmp_path / "out" / "s1.json").read_text()


@pytest.mark.parametrize("failing", ["document", "masks", "uncertainty", "label_map"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failing_writer_changes_nothing(tmp_path, monkeypatch, failing, error):
    old = segmentation(uncertainty=np.zeros(GRID.shape, np.uint8))
    write_outputs(old, IMAGE, tmp_path, "s1", ["document", "masks"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setitem(WRITERS, failing, replace(WRITERS[failing], write=fail))
    new = Segmentation(np.ones(GRID.shape, np.uint8), NAMES, uncertainty=np.ones(GRID.shape, np.uint8))
    expected = StudyError if isinstance(error, OSError) else KeyboardInterrupt
    for study_id in ("s1", "s2"):
        with pytest.raises(expected):
            write_outputs(new, IMAGE, tmp_path, study_id, ["document", "masks"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_label_map_comes_last(tmp_path, monkeypatch):
    from pathlib import Path

    order, rename = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, to: order.append(Path(to).name) or rename(path, to))
    write_outputs(
        segmentation(uncertainty=np.zeros(GRID.shape, np.uint8)), IMAGE, tmp_path, "s1", ["document", "masks"]
    )
    places = [name for name in order if not name.startswith(".")]
    assert sorted(places[:-1]) == ["s1.json", "s1__liver.nii.gz", "s1__liver_tumour.nii.gz", "s1__uncertainty.nii.gz"]
    assert places[-1] == "s1.nii.gz"


def test_a_folder_that_cannot_be_made_names_the_study(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StudyError, match="study s1: its files could not be written"):
        write_outputs(segmentation(), IMAGE, tmp_path / "out", "s1")


def test_a_full_disk_names_the_study_and_its_file(tmp_path):
    import resource

    shape = (40, 40, 40)
    image = Volume(np.zeros(shape, np.int16), Grid(shape, np.eye(4)))
    noise = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(StudyError, match=r"^study s1: s1\.nii\.gz: could not be written \(File too large\)"):
            write_outputs(Segmentation(noise, NAMES), image, tmp_path, "s1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names_in(tmp_path) == []


def test_equal_input_gives_equal_bytes(tmp_path):
    for folder in ("a", "b"):
        write_outputs(segmentation(), IMAGE, tmp_path / folder, "s1", ["document", "masks"])
    for name in names_in(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("names", "safe"),
    [
        (["liver", "kidney left"], ("liver", "kidney_left")),
        (["a b", "a_b", "A/B"], ("a_b", "class_2_a_b", "class_3_A_B")),
        (["../../etc/passwd"], (".._.._etc_passwd",)),
        (["Tumeur hépatique", "肝臓"], ("Tumeur_hepatique", "class_2")),
        (["uncertainty", "probability_liver", "liver"], ("class_1_uncertainty", "class_2_probability_liver", "liver")),
        (["x" * 300], ("x" * 60,)),
        ([], ()),
    ],
)
def test_names_become_safe_file_names(names, safe):
    assert safe_names(names) == safe


def test_what_no_study_could_give_is_refused_before():
    require_outputs(["document"], ["liver"], NAMES)
    with pytest.raises(ConfigError, match="found spleen"):
        require_outputs(["document"], ["spleen"], NAMES)
    with pytest.raises(ConfigError, match="keep it, or list none"):
        require_outputs([], ["liver"], NAMES)
    with pytest.raises(ConfigError, match=r"expected label_map, .* or document, found 'mask'; did you mean"):
        require_outputs(["mask"], [], NAMES)


def test_a_dicom_seg_without_highdicom_is_refused_before(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    with pytest.raises(StudyError, match=r"pip install 'medseg\[dicom\]'"):
        require_outputs(["dicom_seg"], [], NAMES)


def test_the_segmenter_is_asked_for_what_the_formats_need():
    asked = Request(("liver",), "disagreement")
    assert full_request(Request(), ["document", "masks"], NAMES) == Request()
    assert full_request(Request(), ["probabilities", "uncertainty"], NAMES) == Request(NAMES, "entropy")
    assert full_request(asked, ["probabilities", "uncertainty"], NAMES) == asked
