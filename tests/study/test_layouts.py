"""Folders that are recognised, and those that are not."""

import json

import pytest

from medseg.errors import ManifestError
from medseg.study.layouts import find_studies
from medseg.study.manifest import read_manifest, write_manifest


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def rows(found):
    """(study_id, fold, image, label) with paths relative to the root."""
    return [
        (
            s.study_id,
            s.fold,
            str(s.image.relative_to(found.root)),
            str(s.label.relative_to(found.root)) if s.label else "",
        )
        for s in found.studies
    ]


def msd(folder, training, tests=(), **more):
    dataset = {
        "labels": {"0": "background", "1": "liver", "2": "cancer"},
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in training],
        "test": [f"./imagesTs/{n}.nii.gz" for n in tests],
    }
    (folder / "dataset.json").write_text(json.dumps(dataset | more))


def test_msd(tmp_path):
    for n in ("liver_10", "liver_2"):
        touch(tmp_path, f"imagesTr/{n}.nii.gz", f"labelsTr/{n}.nii.gz", f"imagesTr/._{n}.nii.gz")
    touch(tmp_path, "imagesTs/liver_131.nii.gz")
    msd(tmp_path, ["liver_10", "liver_2"], ["liver_131"])
    found = find_studies(tmp_path)
    assert found.description == "MSD: 2 training and 1 test studies"
    assert found.labels == {"liver": 1, "cancer": 2}
    assert rows(found) == [
        ("liver_2", "", "imagesTr/liver_2.nii.gz", "labelsTr/liver_2.nii.gz"),
        ("liver_10", "", "imagesTr/liver_10.nii.gz", "labelsTr/liver_10.nii.gz"),
        ("liver_131", "test", "imagesTs/liver_131.nii.gz", ""),
    ]


def test_msd_with_missing_files_names_them(tmp_path):
    touch(tmp_path, "imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "imagesTr/b.nii.gz")
    msd(tmp_path, ["a", "b"])
    with pytest.raises(ManifestError, match=r"1 of its files are missing: labelsTr/b\.nii\.gz"):
        find_studies(tmp_path)


def test_msd_that_lists_a_study_twice_is_refused(tmp_path):
    touch(tmp_path, "imagesTr/a.nii.gz", "labelsTr/a.nii.gz")
    msd(tmp_path, ["a", "a"])
    with pytest.raises(ManifestError, match="two files for study 'a'"):
        find_studies(tmp_path)


def test_dataset_json_may_not_name_files_outside_its_folder(tmp_path):
    msd(tmp_path, ["../../secret"])
    with pytest.raises(ManifestError, match="files under its own folder"):
        find_studies(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_broken_dataset_json_is_refused(tmp_path, content):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(ManifestError, match=r"dataset\.json: expected"):
        find_studies(tmp_path)


def nnunet(folder):
    touch(
        folder,
        "imagesTr/a_0000.nii.gz",
        "labelsTr/a.nii.gz",
        "imagesTr/b_0000.nii.gz",
        "labelsTr/b.nii.gz",
        "imagesTs/c_0000.nii.gz",
    )
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "liver": 1, "ignore": 2},
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(dataset))


def test_nnunet_raw(tmp_path):
    nnunet(tmp_path)
    found = find_studies(tmp_path)
    assert found.description == "nnU-Net raw: 2 training and 1 test studies"
    assert found.labels == {"liver": 1, "ignore": 2}
    assert rows(found)[0] == ("a", "", "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
    assert rows(found)[2] == ("c", "test", "imagesTs/c_0000.nii.gz", "")


def test_nnunet_1_with_msd_like_list(tmp_path):
    nnunet(tmp_path)
    msd(tmp_path, ["a", "b"])
    assert find_studies(tmp_path).description == "nnU-Net raw: 2 training and 1 test studies"


def test_nnunet_with_two_channels_is_refused(tmp_path):
    nnunet(tmp_path)
    touch(tmp_path, "imagesTr/a_0001.nii.gz")
    with pytest.raises(ManifestError, match=r"a_0001\.nii\.gz: expected CT in one channel"):
        find_studies(tmp_path)


def test_nnunet_regions_give_no_label_names(tmp_path):
    nnunet(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "whole": [1, 2]}}))
    assert find_studies(tmp_path).labels is None


def test_nnunet_without_dataset_json(tmp_path):
    nnunet(tmp_path)
    (tmp_path / "dataset.json").unlink()
    assert [row[0] for row in rows(find_studies(tmp_path))] == ["a", "b", "c"]


def test_lits_in_batches(tmp_path):
    touch(tmp_path, "Training Batch 1/volume-0.nii", "Training Batch 1/segmentation-0.nii")
    touch(tmp_path, "Training Batch 2/volume-10.nii", "Training Batch 2/segmentation-10.nii.gz")
    touch(tmp_path, "Training Batch 2/volume-9.nii.gz", "test/test-volume-3.nii")
    found = find_studies(tmp_path)
    assert found.description == "LiTS: 3 training and 1 test studies; 1 training studies have no label"
    assert found.labels is None
    assert rows(found) == [
        ("volume-0", "", "Training Batch 1/volume-0.nii", "Training Batch 1/segmentation-0.nii"),
        ("volume-9", "", "Training Batch 2/volume-9.nii.gz", ""),
        ("volume-10", "", "Training Batch 2/volume-10.nii", "Training Batch 2/segmentation-10.nii.gz"),
        ("test-volume-3", "test", "test/test-volume-3.nii", ""),
    ]


def test_lits_volume_in_two_places_is_refused(tmp_path):
    touch(tmp_path, "1/volume-0.nii", "2/volume-0.nii.gz")
    with pytest.raises(ManifestError, match="two files for study 'volume-0'"):
        find_studies(tmp_path)


def test_segmentation_without_a_volume_is_refused(tmp_path):
    touch(tmp_path, "volume-0.nii", "segmentation-0.nii", "segmentation-1.nii")
    with pytest.raises(ManifestError, match=r"1 training labels have no image of the same name: .*segmentation-1\.nii"):
        find_studies(tmp_path)


@pytest.mark.parametrize(
    "pair", [("images", "labels"), ("imagesTr", "labelsTr"), ("scans", "masks"), ("ct", "Liver_Segs")]
)
def test_two_folders_with_equal_names(tmp_path, pair):
    touch(tmp_path, *(f"{folder}/{name}" for folder in pair for name in ("p1.nii.gz", "p 2.nii.gz")))
    found = find_studies(tmp_path)
    assert found.description == f"folders {pair[0]} and {pair[1]}: 2 training and 0 test studies"
    assert rows(found) == [
        ("p1", "", f"{pair[0]}/p1.nii.gz", f"{pair[1]}/p1.nii.gz"),
        ("p_2", "", f"{pair[0]}/p 2.nii.gz", f"{pair[1]}/p 2.nii.gz"),
    ]


def test_two_folders_of_which_none_says_that_it_holds_labels_are_refused(tmp_path):
    touch(tmp_path, "x/1.nii", "y/1.nii")
    with pytest.raises(ManifestError, match="name the one with label maps 'labels'"):
        find_studies(tmp_path)


def test_one_id_with_two_suffixes_is_refused(tmp_path):
    touch(tmp_path, "images/a.nii", "images/a.nii.gz", "labels/a.nii")
    with pytest.raises(ManifestError, match="two files for study 'a'"):
        find_studies(tmp_path)


def test_flat_pairs(tmp_path):
    touch(tmp_path, "p1_image.nii.gz", "p1_label.nii.gz", "p2_ct.nii", "p2_seg.nii", "._p1_image.nii.gz", "notes.txt")
    found = find_studies(tmp_path)
    assert found.description == "image and label pairs: 2 training and 0 test studies"
    assert rows(found) == [("p1", "", "p1_image.nii.gz", "p1_label.nii.gz"), ("p2", "", "p2_ct.nii", "p2_seg.nii")]


def test_a_folder_for_each_study(tmp_path):
    touch(tmp_path, *(f"p{n}/{name}.nii.gz" for n in (1, 2) for name in ("image", "label")))
    assert rows(find_studies(tmp_path)) == [(f"p{n}", "", f"p{n}/image.nii.gz", f"p{n}/label.nii.gz") for n in (1, 2)]


def test_two_images_for_one_study_are_refused(tmp_path):
    touch(tmp_path, "p1_image.nii.gz", "p1_ct.nii.gz", "p1_label.nii.gz")
    with pytest.raises(ManifestError, match="two files for study 'p1'"):
        find_studies(tmp_path)


def test_nothing_recognised_says_what_was_looked_for_and_found(tmp_path):
    with pytest.raises(ManifestError, match=r"expected MSD.*found an empty folder"):
        find_studies(tmp_path)
    touch(tmp_path, "a.dcm", "b.nrrd", ".hidden")
    with pytest.raises(ManifestError, match=r"expected MSD.*found a\.dcm, b\.nrrd$"):
        find_studies(tmp_path)
    with pytest.raises(ManifestError, match="no such folder"):
        find_studies(tmp_path / "none")


def test_what_is_found_makes_a_manifest_that_reads_back(tmp_path):
    nnunet(tmp_path)
    _, studies, root, _ = find_studies(tmp_path)
    write_manifest(tmp_path / "m.csv", studies, root)
    assert read_manifest(tmp_path / "m.csv", root) == studies


def test_real_folder_of_pairs(shared_data):
    found = find_studies(shared_data / "sarcoma")
    assert found.description == "image and label pairs: 24 training and 0 test studies"
    assert rows(found)[0] == ("sts_001", "", "sts_001_image.nii.gz", "sts_001_label.nii.gz")


def test_link_to_the_folder_is_followed(tmp_path):
    (tmp_path / "data").mkdir()
    nnunet(tmp_path / "data")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert len(find_studies(tmp_path / "link").studies) == 3


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd"])
def test_folders_and_pairs_may_be_nrrd_or_metaimage(tmp_path, suffix):
    touch(
        tmp_path / "pairs",
        f"a_image{suffix}",
        f"a_label{suffix}",
        f"b/image{suffix}",
        f"b/label{suffix}",
        "b/image.raw",
    )
    assert rows(find_studies(tmp_path / "pairs")) == [
        ("a", "", f"a_image{suffix}", f"a_label{suffix}"),
        ("b", "", f"b/image{suffix}", f"b/label{suffix}"),
    ]
    touch(tmp_path / "folders", f"ct/x{suffix}", f"ct/y{suffix}", f"masks/x{suffix}", f"masks/y{suffix}")
    assert rows(find_studies(tmp_path / "folders")) == [
        ("x", "", f"ct/x{suffix}", f"masks/x{suffix}"),
        ("y", "", f"ct/y{suffix}", f"masks/y{suffix}"),
    ]


def test_nifti_comes_before_other_formats_of_the_same_folder(tmp_path):
    touch(tmp_path, "a_image.nii.gz", "a_label.nii.gz", "a_image.nrrd")
    assert rows(find_studies(tmp_path)) == [("a", "", "a_image.nii.gz", "a_label.nii.gz")]
