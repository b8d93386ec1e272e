import csv
import json
from dataclasses import asdict, astuple
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import StudyError
from medseg.evaluation.options import ScoringOptions
from medseg.evaluation.results import Evaluation, Failure, read_json
from medseg.evaluation.scores import score_arrays
from medseg.evaluation.summary import summarise

OPTIONS = ScoringOptions(tolerance_mm={"liver": 7}, lesions=("tumour",))

FORMAT_1 = {
    "format": 1,
    "studies": [
        {
            "study_id": "s1",
            "rows": [
                {
                    "study_id": "s1",
                    "label": "liver",
                    "dice": None,
                    "iou": None,
                    "precision": None,
                    "recall": None,
                    "reference_ml": 0.0,
                    "segmentation_ml": 0.0,
                    "reference_voxels": 0,
                    "segmentation_voxels": 0,
                    "empty": "both",
                }
            ],
            "accuracy": 1.0,
            "miou": 1.0,
            "miou_foreground": None,
            "confusion": [[4, 0], [0, 0]],
        }
    ],
    "failures": [{"study_id": "s2", "reason": "cut short"}],
    "labels": [],
    "overall": {},
}


@pytest.fixture
def evaluation() -> Evaluation:
    reference = np.array([0, 1, 1, 0], dtype=np.uint8).reshape(-1, 1, 1)
    segmentation = np.array([0, 1, 0, 2], dtype=np.uint8).reshape(-1, 1, 1)
    affine = np.diag([10.0, 5.0, 5.0, 1.0])  # a voxel of 0.25 ml
    scores = score_arrays("s1", reference, segmentation, ("liver", "tumour"), affine, OPTIONS, note="resampled")
    return Evaluation((scores,), (Failure("s2", "cut short"),), OPTIONS, ("s3",))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_one_row_a_study_and_label_and_leaves_empty_what_is_undefined(evaluation, tmp_path):
    evaluation.write_csv(tmp_path / "new" / "evaluation.csv")
    liver, tumour = rows_of(tmp_path / "new" / "evaluation.csv")
    assert list(liver)[:9] == [
        "study_id",
        "label",
        "dice",
        "iou",
        "precision",
        "recall",
        "specificity",
        "reference_ml",
        "segmentation_ml",
    ]
    assert list(liver)[-8:] == [
        "reference_voxels",
        "segmentation_voxels",
        "empty",
        "accuracy",
        "miou",
        "miou_foreground",
        "fw_iou",
        "note",
    ]
    assert (liver["study_id"], liver["label"], liver["dice"], liver["empty"]) == ("s1", "liver", repr(2 / 3), "")
    assert (liver["hd_mm"], liver["tolerance_mm"]) == ("10.0", "7.0")
    assert 0 < float(liver["nsd"]) < 1
    assert (float(liver["reference_ml"]), float(liver["volume_difference_ml"])) == pytest.approx((0.5, -0.25))
    assert liver["ravd"] == "0.5"
    assert (liver["reference_lesions"], liver["lesion_f1"]) == ("", "")
    assert (tumour["empty"], tumour["hd_mm"], tumour["recall"], tumour["nsd"]) == ("reference", "", "", "0.0")
    assert (tumour["reference_lesions"], tumour["false_positive_lesions"]) == ("0", "1")
    assert (tumour["accuracy"], tumour["note"]) == ("0.5", "resampled")


def test_lesions_have_a_csv_of_their_own(evaluation, tmp_path):
    evaluation.write_lesions_csv(tmp_path / "lesions.csv")
    (row,) = rows_of(tmp_path / "lesions.csv")
    assert float(row.pop("volume_ml")) == pytest.approx(0.25)
    assert row == {
        "study_id": "s1",
        "label": "tumour",
        "side": "segmentation",
        "index": "1",
        "longest_diameter_mm": repr(float(np.sqrt(150))),
        "centre_r_mm": "30.0",
        "centre_a_mm": "0.0",
        "centre_s_mm": "0.0",
        "partner": "0",
        "overlap": "0.0",
        "dice": "0.0",
    }


def test_json_comes_back_as_it_was(evaluation, tmp_path):
    path = tmp_path / "evaluation.json"
    evaluation.write_json(path)
    again = read_json(path)
    assert (again.failures, again.options, again.without_reference) == (evaluation.failures, OPTIONS, ("s3",))
    ours, theirs = evaluation.scores[0], again.scores[0]
    np.testing.assert_array_equal(theirs.confusion, ours.confusion)
    assert (theirs.study_id, theirs.miou, theirs.fw_iou, theirs.note) == ("s1", ours.miou, ours.fw_iou, "resampled")
    assert theirs.lesions == ours.lesions
    for mine, other in zip(ours.rows, theirs.rows, strict=True):
        np.testing.assert_equal(astuple(other), astuple(mine))  # NaN and None among them
    np.testing.assert_equal(
        [asdict(summary) for summary in summarise(again.scores)],
        [asdict(summary) for summary in summarise(evaluation.scores)],
    )


def test_json_of_format_1_still_reads(tmp_path):
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(FORMAT_1))
    old = read_json(path)
    assert (old.failures, old.options, old.without_reference) == ((Failure("s2", "cut short"),), None, ())
    row = old.scores[0].rows[0]
    assert (row.empty, row.reference_lesions, old.scores[0].lesions) == ("both", None, ())
    np.testing.assert_equal([row.dice, row.hd_mm, row.specificity, old.scores[0].fw_iou], [np.nan] * 4)
    assert summarise(old.scores)[0].lesions is None


def test_json_writes_null_for_nan_and_carries_options_and_summary(evaluation, tmp_path):
    path = tmp_path / "evaluation.json"
    evaluation.write_json(path)
    document = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert document["format"] == 2
    assert document["options"]["tolerance_mm"] == {"liver": 7}
    assert document["options"]["empty_as"] == "nan"
    assert document["studies"][0]["rows"][1]["hd_mm"] is None
    dice = document["labels"][0]["spreads"]["dice"]
    assert (dice["mean"], dice["q1"], dice["sd"], dice["low"]) == (
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
        None,
        None,
    )
    assert document["labels"][1]["lesions"]["false_positives"] == 1
    assert document["overall"]["n"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation.json"]


def test_an_evaluation_without_scores_is_written_with_its_failures(tmp_path):
    nothing = Evaluation((), (Failure("s2", "cut short"),))
    for write in (nothing.write_csv, nothing.write_lesions_csv):
        write(tmp_path / "empty.csv")
        assert (tmp_path / "empty.csv").read_text().count("\n") == 1
    nothing.write_json(tmp_path / "evaluation.json")
    assert read_json(tmp_path / "evaluation.json").failures == nothing.failures


@pytest.mark.parametrize("text", ["", "[]", '{"format": 99}', '{"format": 1, "studies": [{}], "failures": []}'])
def test_another_file_is_refused_by_name(text, tmp_path):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(StudyError, match=r"other\.json: expected an evaluation.json of format 1 or 2"):
        read_json(path)
