import json
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import ManifestError
from medseg.evaluation.pairing import pair_folders, pair_images
from medseg.types import StudyInput
from tests.study.dicom_files import write_series
from tests.study.seg_files import write_seg


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    reference, segmentation = tmp_path / "reference", tmp_path / "segmentation"
    reference.mkdir()
    segmentation.mkdir()
    return reference, segmentation


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def ids(folders: tuple[Path, Path]) -> list[tuple[str, str, str]]:
    reference, segmentation = folders
    return [
        (study_id, one.relative_to(reference).as_posix(), other.relative_to(segmentation).as_posix())
        for study_id, one, other in pair_folders(*folders).pairs
    ]


@pytest.mark.parametrize(
    ("reference", "segmentation", "study_id"),
    [
        ("a.nii.gz", "a.nii", "a"),
        ("a_label.nii.gz", "a_label.nii.gz", "a_label"),
        ("a_label.nii.gz", "a.nii.gz", "a"),
        ("a_seg.nii.gz", "a_image.nii.gz", "a"),
        ("a.nii.gz", "a_0000.nii.gz", "a"),
        ("case.1_segmentation.nii", "case.1.nii.gz", "case.1"),
        ("segmentation-7.nii", "volume-7.nii.gz", "volume-7"),
        ("image.nii.gz", "image.nii.gz", "image"),
        ("a.mha", "a.nrrd", "a"),
        ("site a/7.nii.gz", "site_a__7.nii.gz", "site_a__7"),  # what `medseg segment` makes of it
        ("site/7/label.nii.gz", "site/7/segmentation.nii.gz", "site__7"),
        ("7/label.nii.gz", "7.nii.gz", "7"),
    ],
)
def test_names_match_with_and_without_their_decoration(folders, reference, segmentation, study_id):
    touch(folders[0], reference)
    touch(folders[1], segmentation)
    pairing = pair_folders(*folders)
    assert pairing.pairs == [(study_id, folders[0] / reference, folders[1] / segmentation)]
    assert (pairing.only_reference, pairing.only_segmentation, pairing.broken) == ({}, {}, {})


def test_equal_names_come_before_bare_ones_and_what_has_no_partner_is_listed(folders):
    touch(folders[0], "b.nii.gz", "a.nii.gz", "only_here.nii.gz", "._a.nii.gz", ".hidden/c.nii.gz", "notes.txt")
    touch(folders[1], "a.nii.gz", "b_seg.nii.gz", "sub/only_there.nii.gz")
    assert ids(folders) == [("a", "a.nii.gz", "a.nii.gz"), ("b", "b.nii.gz", "b_seg.nii.gz")]
    pairing = pair_folders(*folders)
    assert pairing.only_reference == {"only_here": folders[0] / "only_here.nii.gz"}
    assert pairing.only_segmentation == {"sub__only_there": folders[1] / "sub/only_there.nii.gz"}


def test_what_segment_writes_beside_its_label_maps_is_left_alone(folders):
    touch(folders[0], "a.nii.gz", "b.nii.gz")
    touch(folders[1], "a.nii.gz", "b.nii.gz", "a__uncertainty.nii.gz", "a__probability_liver.nii.gz")
    touch(folders[1], "a__liver.nii.gz", "b__liver.nii.gz")
    (folders[1] / "a.json").write_text(json.dumps({"files": ["a.nii.gz", "a__liver.nii.gz"]}))
    (folders[1] / "b.json").write_text("{}")  # not medseg's: the file may be a study of its own
    pairing = pair_folders(*folders)
    assert [study_id for study_id, *_ in pairing.pairs] == ["a", "b"]
    assert list(pairing.only_segmentation) == ["b__liver"]


def test_one_side_may_lie_inside_the_other(tmp_path):
    touch(tmp_path, "a.nii.gz", "found/a.nii.gz")
    pairing = pair_folders(tmp_path, tmp_path / "found")
    assert pairing.pairs == [("a", tmp_path / "a.nii.gz", tmp_path / "found" / "a.nii.gz")]
    assert pairing.only_reference == {}
    assert pair_folders(tmp_path / "found", tmp_path).only_segmentation == {}


@pytest.mark.parametrize(
    ("references", "segmentations", "message"),
    [
        ([], ["a.nii"], "reference: expected .nii, .nii.gz.* files, found none"),
        (["a.nii"], ["b.nii"], "found for example a.nii and b.nii"),
        (["a.nii", "a.nii.gz"], ["a.nii"], "found a.nii and a.nii.gz for 'a'"),
        (["a_image.nii", "a_label.nii"], ["a.nii"], "found a_image.nii and a_label.nii for 'a'"),
    ],
)
def test_folders_that_cannot_be_paired_are_refused(folders, references, segmentations, message):
    touch(folders[0], *references)
    touch(folders[1], *segmentations)
    with pytest.raises(ManifestError, match=message):
        pair_folders(*folders)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ManifestError, match=r"nowhere: expected a folder .* found nothing"):
        pair_folders(tmp_path / "nowhere", tmp_path)


def test_manifests_name_the_files_of_either_side(folders):
    touch(folders[1], "a.nii.gz", "b.nii.gz")
    manifest = folders[0] / "manifest.csv"
    manifest.write_text("study_id,image,label\na,x/ct.nii,x/7.nii\nb,y/ct.nii,\nc,z/ct.nii,z/7.nii\n")
    pairing = pair_folders(manifest, folders[1])
    assert pairing.pairs == [("a", folders[0] / "x/7.nii", folders[1] / "a.nii.gz")]
    assert pairing.only_reference == {"c": folders[0] / "z/7.nii"}
    assert list(pairing.only_segmentation) == ["b"]  # a row without a label has no reference
    found = folders[1] / "found.csv"
    found.write_text("study_id,label,segmentation\na,wrong.nii,sub/a.nii\n")
    assert pair_folders(manifest, found, root=Path("/data")).pairs == [
        ("a", Path("/data/x/7.nii"), folders[1] / "sub/a.nii")
    ]


def test_rows_that_cannot_be_used_are_listed_with_their_reason(folders):
    touch(folders[1], "a.nii", "b.nii", "c.nii", "d.nii")
    manifest = folders[0] / "manifest.csv"
    manifest.write_text("study_id,label,label_map\na,a.nii,\nb,../../b.nii,\nc,/c.nii,\nd,d.nii,other\n")
    pairing = pair_folders(manifest, folders[1])
    assert [study_id for study_id, *_ in pairing.pairs] == ["a"]
    assert list(pairing.broken) == ["b", "c", "d"]
    assert "stays below it, found '../../b.nii'" in pairing.broken["b"]
    assert "data.label_maps.other" in pairing.broken["d"]
    assert (pairing.only_reference, pairing.only_segmentation) == ({}, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the columns study_id and label or reference, found none"),
        ("study_id;label\na;b\n", "expected the columns"),
        ("study_id,label\na,\n", "expected rows with a label, found none"),
        ("study_id,label\na,1.nii\na,2.nii\n", "found 1.nii and 2.nii for 'a'"),
        ("study_id,label\nz,z.nii\n", "found for example z.nii and a.nii"),
        ("study_id,label\na,../a.nii\n", "a: label: expected a path relative to"),
    ],
)
def test_manifests_that_are_none_are_refused(folders, text, message):
    touch(folders[1], "a.nii")
    (folders[0] / "m.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        pair_folders(folders[0] / "m.csv", folders[1])
    with pytest.raises(ManifestError, match=r"nowhere\.csv: expected a manifest CSV"):
        pair_folders(folders[0] / "nowhere.csv", folders[1])


MASK = [(1, (0.0, 0.0, 0.0), np.ones((2, 2)))]


@pytest.mark.parametrize(
    ("reference", "segmentation", "study_id"),
    [
        ("a.dcm", "a.nii.gz", "a"),
        ("a_label.nii.gz", "a.DCM", "a"),
        ("site a/7.dcm", "site_a__7.dcm", "site_a__7"),
        ("site/7/seg.dcm", "site/7.nrrd", "site__7"),
        ("site/7/1.2.840.99.dcm", "site__7.nii.gz", "site__7"),  # alone in its folder, as a PACS names it
        ("7/IM0001.dcm", "7/other.dcm", "7"),
    ],
)
def test_dicom_segs_match_by_their_name_or_their_folders(folders, reference, segmentation, study_id):
    for folder, name in zip(folders, (reference, segmentation), strict=True):
        touch(folder, name)
        if name.lower().endswith(".dcm"):
            write_seg(folder / name, MASK, {1: "Liver"})
    pairing = pair_folders(*folders)
    assert pairing.pairs == [(study_id, folders[0] / reference, folders[1] / segmentation)]
    assert (pairing.only_reference, pairing.only_segmentation) == ({}, {})


def test_slices_and_broken_files_are_no_labels(folders):
    write_series(folders[0] / "a", 2)
    write_seg(folders[0] / "a" / "9.dcm", MASK, {1: "Liver"})
    touch(folders[0], "a/broken.dcm", "b.nii")
    write_series(folders[0] / "b", 2)
    touch(folders[1], "a.nii", "b.nii")
    assert ids(folders) == [("a", "a/9.dcm", "a.nii"), ("b", "b.nii", "b.nii")]


def test_a_dicom_seg_beside_the_label_map_of_its_name_is_the_same(folders):
    """``medseg segment --dicom-seg`` writes both."""
    touch(folders[0], "a.nii.gz")
    touch(folders[1], "a.nii.gz")
    write_seg(folders[1] / "a.dcm", MASK, {1: "Liver"})
    assert ids(folders) == [("a", "a.nii.gz", "a.nii.gz")]


def test_several_dicom_segs_in_a_folder_keep_their_names(folders):
    for name in ("7/one.dcm", "7/other.dcm"):
        write_seg(folders[0] / name, MASK, {1: "Liver"})
    touch(folders[1], "7.nii", "7__one.nii")
    pairing = pair_folders(*folders)
    assert [study_id for study_id, *_ in pairing.pairs] == ["7__one"]
    assert (list(pairing.only_reference), list(pairing.only_segmentation)) == (["7__other"], ["7"])


class TestImages:
    """The CTs of references."""

    def test_files_and_series_are_found_by_the_references_names(self, folders):
        touch(folders[0], "a_label.nii.gz", "b.nrrd", "segmentation-7.nii")
        touch(folders[1], "a.mha", "volume-7.nii", "c.nii")
        write_series(folders[1] / "b", 2)
        found = pair_images(*folders)
        assert {file.name: (image.study_id, image.path.name) for file, image in found.items()} == {
            "a_label.nii.gz": ("a", "a.mha"),
            "b.nrrd": ("b", "b"),
            "segmentation-7.nii": ("volume-7", "volume-7.nii"),
        }

    def test_images_may_stand_in_a_manifest(self, folders):
        touch(folders[0], "a.nii")
        (folders[1] / "m.csv").write_text("study_id,subject_id,fold,image,label\na,,,ct#4,\n")
        assert pair_images(folders[0], folders[1] / "m.csv") == {
            folders[0] / "a.nii": StudyInput("a", folders[1] / "ct", "4")
        }

    def test_other_names_are_refused(self, folders):
        touch(folders[0], "a.nii")
        touch(folders[1], "b.nii")
        with pytest.raises(ManifestError, match=r"expected files of the same name .* example a\.nii and b\.nii"):
            pair_images(*folders)
