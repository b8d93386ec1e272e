import csv
import json
from dataclasses import astuple

import numpy as np
import pytest

from medseg.errors import StudyError
from medseg.evaluation import Evaluation, Failure, read_json, score_arrays


@pytest.fixture
def evaluation() -> Evaluation:
    reference = np.array([0, 1, 1, 0], dtype=np.uint8)
    segmentation = np.array([0, 1, 0, 1], dtype=np.uint8)
    scores = score_arrays("s1", reference, segmentation, ("liver", "tumour"), voxel_ml=0.25)
    return Evaluation((scores,), (Failure("s2", "cut short"),))


def test_csv_has_one_row_a_study_and_label_and_leaves_nan_empty(evaluation, tmp_path):
    evaluation.write_csv(tmp_path / "new" / "evaluation.csv")
    with (tmp_path / "new" / "evaluation.csv").open(newline="") as file:
        liver, tumour = csv.DictReader(file)
    assert liver == {
        "study_id": "s1",
        "label": "liver",
        "dice": "0.5",
        "iou": repr(1 / 3),
        "precision": "0.5",
        "recall": "0.5",
        "reference_ml": "0.5",
        "segmentation_ml": "0.5",
        "reference_voxels": "2",
        "segmentation_voxels": "2",
        "empty": "",
        "accuracy": "0.5",
        "miou": repr(1 / 3),
        "miou_foreground": repr(1 / 3),
    }
    assert (tumour["label"], tumour["dice"], tumour["empty"]) == ("tumour", "", "both")


def test_json_comes_back_as_it_was(evaluation, tmp_path):
    path = tmp_path / "evaluation.json"
    evaluation.write_json(path)
    again = read_json(path)
    assert again.failures == evaluation.failures
    np.testing.assert_array_equal(again.scores[0].confusion, evaluation.scores[0].confusion)
    assert (again.scores[0].study_id, again.scores[0].miou) == ("s1", evaluation.scores[0].miou)
    assert again.scores[0].rows[0] == evaluation.scores[0].rows[0]
    np.testing.assert_equal(astuple(again.scores[0].rows[1]), astuple(evaluation.scores[0].rows[1]))  # NaN among them


def test_json_writes_null_for_nan_and_carries_the_summary(evaluation, tmp_path):
    path = tmp_path / "evaluation.json"
    evaluation.write_json(path)
    document = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert document["studies"][0]["rows"][1]["dice"] is None
    assert document["labels"][0]["dice"]["mean"] == 0.5
    assert document["labels"][0]["dice"]["sd"] is None
    assert document["overall"]["n"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation.json"]


def test_an_evaluation_without_scores_is_written_with_its_failures(tmp_path):
    nothing = Evaluation((), (Failure("s2", "cut short"),))
    nothing.write_csv(tmp_path / "evaluation.csv")
    nothing.write_json(tmp_path / "evaluation.json")
    assert (tmp_path / "evaluation.csv").read_text().count("\n") == 1
    assert read_json(tmp_path / "evaluation.json").failures == nothing.failures


@pytest.mark.parametrize("text", ["", "[]", '{"format": 99}', '{"format": 1, "studies": [{}], "failures": []}'])
def test_another_file_is_refused_by_name(text, tmp_path):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(StudyError, match=r"other\.json: expected an evaluation.json of format 1"):
        read_json(path)
