import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.errors import ConfigError, ManifestError
from medseg.evaluation.arguments import parse_label_argument
from medseg.evaluation.folders import evaluate_folders
from medseg.evaluation.options import ScoringOptions
from medseg.study.nifti import write_labels
from medseg.types import Grid, LabelMap

LIVER = LabelMap({"liver": (1,)})


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    return tmp_path / "reference", tmp_path / "segmentation"


def write(path: Path, *values: int, spacing_mm: float = 1.0) -> None:
    voxels = np.array(values, dtype=np.uint8).reshape(-1, 1, 1)
    write_labels(path, voxels, Grid(voxels.shape, np.diag([spacing_mm, 1, 1, 1])))


def test_a_broken_study_is_listed_and_the_others_are_scored(folders, caplog):
    for name in ("a_good", "b_strange", "c_cut_short", "d_float", "e_huge", "f_shifted", "g_missing", "h_good"):
        write(folders[0] / f"{name}.nii.gz", 0, 1, 1)
    write(folders[1] / "a_good.nii.gz", 0, 1, 0)
    write(folders[1] / "b_strange.nii.gz", 0, 1, 4)
    (folders[1] / "c_cut_short.nii.gz").write_bytes((folders[0] / "c_cut_short.nii.gz").read_bytes()[:60])
    for name, values in (("d_float", np.array([0, 0.3, 1], np.float32)), ("e_huge", np.array([0, 1, 70000], np.int32))):
        nibabel.Nifti1Image(values.reshape(-1, 1, 1), np.eye(4)).to_filename(folders[1] / f"{name}.nii.gz")
    write(folders[1] / "f_shifted.nii.gz", 0, 1, 1, spacing_mm=2)
    write(folders[1] / "h_good.nii.gz", 0, 1, 1)
    write(folders[1] / "extra.nii.gz", 0, 0, 0)
    with caplog.at_level(logging.WARNING, "medseg"):
        evaluation = evaluate_folders(*folders, LIVER)
    assert [study.study_id for study in evaluation.scores] == ["a_good", "h_good"]
    assert evaluation.scores[0].rows[0].dice == pytest.approx(2 / 3)
    reasons = {failure.study_id: failure.reason for failure in evaluation.failures}
    assert set(reasons) == {"b_strange", "c_cut_short", "d_float", "e_huge", "f_shifted", "g_missing"}
    assert "label values that the pipeline does not name: 4 (1 voxels)" in reasons["b_strange"]
    assert "damaged or cut short" in reasons["c_cut_short"]
    assert "fractions such as 0.3" in reasons["d_float"]
    assert "70000 (1 voxels)" in reasons["e_huge"]
    assert "corner voxels 2.00 mm apart" in reasons["f_shifted"]
    assert "no segmentation of that name" in reasons["g_missing"]
    assert evaluation.without_reference == ("extra",)
    assert "extra: no reference" in caplog.text
    assert "c_cut_short: not scored" in caplog.text


def test_options_and_progress_reach_every_study(folders):
    for name in ("a", "b"):
        write(folders[0] / f"{name}.nii", 1, 1, 0, 1)
        write(folders[1] / f"{name}.nii", 1, 1, 0, 0)
    seen = []
    options = ScoringOptions(lesions=("liver",), tolerance_mm={"liver": 7})
    evaluation = evaluate_folders(*folders, LIVER, None, options, on_done=lambda *args: seen.append(args))
    assert seen == [("a", 1, 2), ("b", 2, 2)]
    assert evaluation.options == options
    assert [(s.rows[0].tolerance_mm, s.rows[0].detected_lesions) for s in evaluation.scores] == [(7, 1), (7, 1)]


def test_segmentations_on_another_grid_are_resampled_on_request(folders):
    write(folders[0] / "a.nii", 1, 1, 0, 0)
    write(folders[1] / "a.nii", 1, 0, 0, spacing_mm=2.0)
    assert "expected one grid" in evaluate_folders(*folders, LIVER).failures[0].reason
    evaluation = evaluate_folders(*folders, LIVER, resample_segmentation=True)
    assert evaluation.scores[0].rows[0].dice == pytest.approx(2 / 3)
    assert evaluation.scores[0].note.startswith("segmentation resampled")


def test_manifests_may_stand_in_for_folders(folders, tmp_path):
    write(folders[0] / "x" / "label.nii", 1, 0)
    write(folders[1] / "found.nii", 1, 0)
    (tmp_path / "reference.csv").write_text("study_id,label\na,x/label.nii\nb,../b.nii\n")
    (tmp_path / "segmentation.csv").write_text("study_id,segmentation\na,segmentation/found.nii\nb,b.nii\n")
    evaluation = evaluate_folders(tmp_path / "reference.csv", tmp_path / "segmentation.csv", LIVER, root=folders[0])
    assert [(s.study_id, s.rows[0].dice) for s in evaluation.scores] == [("a", 1.0)]
    assert [failure.study_id for failure in evaluation.failures] == ["b"]


def test_the_segmentation_may_have_its_own_values(folders):
    write(folders[0] / "a.nii.gz", 0, 5, 9)
    write(folders[1] / "a.nii.gz", 0, 1, 0)
    labels = parse_label_argument("liver=5,background=rest")
    evaluation = evaluate_folders(*folders, labels, parse_label_argument("liver=1"))
    assert evaluation.scores[0].rows[0].dice == 1.0


def test_what_is_wrong_for_every_study_stops_the_whole_evaluation(folders):
    for folder in folders:
        write(folder / "a.nii.gz", 0, 1)
    with pytest.raises(ConfigError, match="spleen"):
        evaluate_folders(*folders, LIVER, LabelMap({"spleen": (1,)}))
    with pytest.raises(ConfigError, match="lesions: expected liver, found 'tumour'"):
        evaluate_folders(*folders, LIVER, None, ScoringOptions(lesions=("tumour",)))
    empty = folders[0].parent / "empty"
    empty.mkdir()
    with pytest.raises(ManifestError, match=r"empty: expected .* files, found none"):
        evaluate_folders(folders[0], empty, LIVER)
