import logging
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import ConfigError, ManifestError
from medseg.evaluation import evaluate_folders, pair_folders, parse_label_argument
from medseg.study.nifti import write_labels
from medseg.types import Grid, LabelMap


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    reference, segmentation = tmp_path / "reference", tmp_path / "segmentation"
    reference.mkdir()
    segmentation.mkdir()
    return reference, segmentation


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


def write(path: Path, *values: int) -> None:
    voxels = np.array(values, dtype=np.uint8).reshape(-1, 1, 1)
    write_labels(path, voxels, Grid(voxels.shape, np.eye(4)))


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
    ],
)
def test_names_match_with_and_without_their_decoration(folders, reference, segmentation, study_id):
    touch(folders[0], reference)
    touch(folders[1], segmentation)
    assert pair_folders(*folders) == ([(study_id, folders[0] / reference, folders[1] / segmentation)], [], [])


def test_equal_names_come_before_bare_ones_and_what_has_no_partner_is_listed(folders):
    touch(folders[0], "b.nii.gz", "a.nii.gz", "only_here.nii.gz", "._a.nii.gz", "notes.txt")
    touch(folders[1], "a.nii.gz", "b_seg.nii.gz", "only_there.nii.gz")
    pairs, only_reference, only_segmentation = pair_folders(*folders)
    assert [(study_id, path.name) for study_id, _, path in pairs] == [("a", "a.nii.gz"), ("b", "b_seg.nii.gz")]
    assert [path.name for path in only_reference] == ["only_here.nii.gz"]
    assert [path.name for path in only_segmentation] == ["only_there.nii.gz"]


@pytest.mark.parametrize(
    ("references", "segmentations", "message"),
    [
        ([], ["a.nii"], "reference: expected .nii or .nii.gz files, found none"),
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


def test_a_broken_study_is_listed_and_the_others_are_scored(folders, caplog):
    for name in ("good", "strange", "broken", "missing"):
        write(folders[0] / f"{name}.nii.gz", 0, 1, 1)
    write(folders[1] / "good.nii.gz", 0, 1, 0)
    write(folders[1] / "strange.nii.gz", 0, 1, 4)
    (folders[1] / "broken.nii.gz").write_bytes((folders[0] / "broken.nii.gz").read_bytes()[:60])
    write(folders[1] / "extra.nii.gz", 0, 0, 0)
    with caplog.at_level(logging.WARNING, "medseg"):
        evaluation = evaluate_folders(*folders, LabelMap({"liver": (1,)}))
    assert [(study.study_id, study.rows[0].dice) for study in evaluation.scores] == [("good", pytest.approx(2 / 3))]
    reasons = {failure.study_id: failure.reason for failure in evaluation.failures}
    assert set(reasons) == {"strange", "broken", "missing"}
    assert "4" in reasons["strange"]
    assert "no segmentation of that name" in reasons["missing"]
    assert "extra.nii.gz: no reference" in caplog.text
    assert "broken: not scored" in caplog.text


def test_the_segmentation_may_have_its_own_values(folders):
    write(folders[0] / "a.nii.gz", 0, 5, 9)
    write(folders[1] / "a.nii.gz", 0, 1, 0)
    labels = parse_label_argument("liver=5,background=rest")
    evaluation = evaluate_folders(*folders, labels, parse_label_argument("liver=1"))
    assert evaluation.scores[0].rows[0].dice == 1.0


def test_label_maps_that_contradict_each_other_stop_the_whole_evaluation(folders):
    for folder in folders:
        write(folder / "a.nii.gz", 0, 1)
    with pytest.raises(ConfigError, match="spleen"):
        evaluate_folders(*folders, LabelMap({"liver": (1,)}), LabelMap({"spleen": (1,)}))


def test_label_arguments_read_as_they_look():
    assert parse_label_argument("liver=1,tumour=2") == LabelMap({"liver": (1,), "tumour": (2,)})
    assert parse_label_argument(" liver = 1+2 , background=rest,ignore=5") == LabelMap(
        {"liver": (1, 2)}, ignore=(5,), rest_is_background=True
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "name=value"),
        ("liver", "name=value pairs such as liver=1,tumour=2.3, found 'liver'"),
        ("liver=1,", "found ''"),
        ("liver=one", "whole numbers"),
        ("liver=1.5", "whole numbers"),
        ("liver=1,liver=2", "given twice"),
        ("liver=1,tumour=1", "tumour.*liver"),
        ("ignore=1", "at least one class"),
        ("liver=0", "value 0 is background"),
    ],
)
def test_wrong_label_arguments_say_what_is_wrong(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_label_argument(text)
