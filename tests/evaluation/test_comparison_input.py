import math
from pathlib import Path

import pytest

from medseg.errors import ConfigError, StudyError
from medseg.evaluation.comparison_input import read_csv, read_evaluation, read_evaluations
from tests.evaluation.compared import evaluation, of_liver

SCORES = evaluation({"a": {"liver": 0.5, "tumour": math.nan}, "b": {"liver": 0.25, "tumour": 0.0}}, failed=("c",))


def write(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        SCORES.write_csv(path) if path.suffix == ".csv" else SCORES.write_json(path)
    return folder


def dice(read: object) -> list[tuple[str, str, float]]:
    return [(row.study_id, row.label, row.dice) for study in read.scores for row in study.rows]


def test_a_csv_gives_the_scores_that_were_written(tmp_path):
    read = read_csv(write(tmp_path, "x.csv") / "x.csv")
    assert dice(read)[0] == ("a", "liver", 0.5)
    assert math.isnan(dice(read)[1][2])
    assert dice(read)[2:] == [("b", "liver", 0.25), ("b", "tumour", 0.0)]
    first = read.scores[0]
    assert first.rows[0] == SCORES.scores[0].rows[0]
    assert (first.accuracy, first.miou, first.labels) == (0.9, 0.8, ("liver", "tumour"))
    assert (first.confusion.shape, int(first.confusion.sum())) == ((3, 3), 0)


def test_a_folder_s_json_comes_before_its_csv(tmp_path):
    folder = write(tmp_path, "evaluation.csv", "evaluation.json")
    assert [failure.study_id for failure in read_evaluation(folder).failures] == ["c"]
    (folder / "evaluation.json").unlink()
    assert read_evaluation(folder).failures == ()
    assert dice(read_evaluation(folder))[2] == ("b", "liver", 0.25)


def test_scores_of_another_program_need_three_columns(tmp_path):
    path = tmp_path / "peer.csv"
    path.write_text("\ufefflabel,dice,study_id,runtime\nliver,0.5,a,fast\nliver,,b,slow\n", encoding="utf-8")
    read = read_csv(path)
    assert dice(read)[0] == ("a", "liver", 0.5)
    row = read.scores[1].rows[0]
    assert math.isnan(row.dice)
    assert math.isnan(row.iou)
    assert row.reference_voxels == 0
    assert math.isnan(read.scores[0].accuracy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "study_id, label and a score such as dice, found an empty file"),
        ("study_id,dice\na,0.5\n", "study_id, label and a score such as dice, found study_id, dice"),
        ("study_id,label,colour\na,liver,red\n", "and a score such as dice"),
        ("study_id,label,dice\na,liver,high\n", "line 2: expected a number for dice, found 'high'"),
        ("study_id,label,dice\na,liver,1\na,liver,1\n", "line 3: expected a, liver once, found it again"),
        ("study_id,label,dice\na,liver\n", "line 2: expected as many cells as there are columns"),
        ("study_id,label,dice\na,liver,1,2\n", "line 2: expected as many cells as there are columns"),
        ("study_id,label,dice\n,liver,1\n", "line 2: expected a study_id, found an empty cell"),
        ('study_id,label,dice\na,"liver,1\n', "expected a table of comma-separated values"),
    ],
)
def test_a_broken_csv_says_where(tmp_path, text, message):
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(StudyError, match=message) as caught:
        read_csv(path)
    assert str(caught.value).startswith(str(path))


def test_a_file_of_other_bytes_is_no_csv_and_no_json(tmp_path):
    for name, message in (("x.csv", "in UTF-8"), ("x.json", "expected an evaluation.json")):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00study")
        with pytest.raises(StudyError, match=message):
            read_evaluation(tmp_path / name)


def test_names_come_from_files_and_folders(tmp_path):
    write(tmp_path, "runs/unet/evaluation.json", "runs/fcn/evaluation.json", "peer.csv", "other.json", "x.json")
    paths = ["runs/unet", "runs/fcn/evaluation.json", "peer.csv", "other.json"]
    named = read_evaluations([*(str(tmp_path / path) for path in paths), f"ours={tmp_path / 'x.json'}"])
    assert list(named) == ["unet", "fcn", "peer", "other", "ours"]


def test_the_same_name_grows_by_the_folders_above(tmp_path):
    paths = ["liver/2026/unet/evaluation.json", "tumour/2026/unet/evaluation.json", "tumour/2026/fcn/evaluation.json"]
    write(tmp_path, *paths)
    named = read_evaluations([str(tmp_path / path) for path in paths])
    assert list(named) == ["liver/2026/unet", "tumour/2026/unet", "fcn"]


def test_a_derived_name_makes_way_for_a_given_one(tmp_path):
    write(tmp_path, "old/unet/evaluation.json", "new/evaluation.json")
    assert list(read_evaluations([str(tmp_path / "old/unet"), f"unet={tmp_path / 'new'}"])) == ["old/unet", "unet"]


def test_a_path_with_an_equals_sign_is_a_path(tmp_path):
    write(tmp_path, "lr=0.1/evaluation.json", "lr=0.2/evaluation.json")
    assert list(read_evaluations([str(tmp_path / "lr=0.1"), f"slow={tmp_path / 'lr=0.2'}"])) == ["lr=0.1", "slow"]


def test_a_name_or_an_evaluation_twice_is_an_error(tmp_path):
    write(tmp_path, "a.json", "b.json", "a.csv")
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    with pytest.raises(ConfigError, match="found 'x' twice"):
        read_evaluations([f"x={a}", f"x={b}"])
    with pytest.raises(ConfigError, match=r"expected different evaluations, found .*a\.json twice"):
        read_evaluations([str(a), f"again={tmp_path / '.' / 'a.json'}"])
    with pytest.raises(ConfigError, match="give others: NAME=PATH"):
        read_evaluations([str(a), str(tmp_path / "a.csv")])


def test_what_is_no_evaluation_says_what_was_expected(tmp_path):
    write(tmp_path, "runs/fold1/evaluation.json")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ConfigError, match="found nothing"):
        read_evaluations([str(tmp_path / "nowhere")])
    with pytest.raises(ConfigError, match=r"expected evaluation\.json or evaluation\.csv in the folder.*fold1"):
        read_evaluations([str(tmp_path / "runs")])
    with pytest.raises(ConfigError, match=r"found notes\.txt"):
        read_evaluations([str(tmp_path / "notes.txt")])
    with pytest.raises(ConfigError, match="expected NAME=PATH"):
        read_evaluations([f"={tmp_path / 'runs/fold1'}"])


def test_a_json_that_is_none_names_the_file(tmp_path):
    (tmp_path / "x.json").write_text('{"format": 99}')
    with pytest.raises(StudyError, match=r"x\.json: expected an evaluation\.json"):
        read_evaluation(tmp_path / "x.json")


def test_csv_and_json_compare_alike(tmp_path):
    from medseg.evaluation.comparison import compare_evaluations

    write(tmp_path, "x.json", "x.csv")
    other = of_liver(0.75, 0.5)
    paths = [tmp_path / "x.json", tmp_path / "x.csv"]
    of_json, of_csv = (compare_evaluations({"x": read_evaluation(path), "y": other}) for path in paths)
    assert of_json.paired[0] == of_csv.paired[0]
    assert of_json.paired[0].differences == (0.25, 0.25)
