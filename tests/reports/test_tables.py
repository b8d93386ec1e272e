import io

import numpy as np
from rich.console import Console

from medseg.evaluation import StudyScores, overall, score_arrays, summarise
from medseg.reports.tables import markdown_table, score_table, study_rows


def study(study_id: str, reference: list[int], segmentation: list[int]) -> StudyScores:
    arrays = (np.array(values, dtype=np.uint8) for values in (reference, segmentation))
    return score_arrays(study_id, *arrays, ("liver", "tumour"), 0.5)


# liver: Dice 1/2 and 1 (mean 3/4, sd 0.354), IoU 1/3 and 1; tumour: in neither, and only in the segmentation
SCORES = [
    study("volume-0_of_the_hospital", [0, 1, 1, 0], [0, 1, 0, 1]),
    study("volume-1_of_the_hospital", [0, 1, 1, 0], [0, 1, 1, 2]),
]


def text_of(width: int, scores: list[StudyScores]) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(score_table(summarise(scores), overall(scores)))
    return console.file.getvalue()


def test_the_terminal_table_shows_the_numbers_worked_out_by_hand():
    text = text_of(120, SCORES)
    (dice, iou) = (line.split() for line in text.splitlines() if "0.354" in line or "0.471" in line)
    assert dice == ["liver", "Dice", "2", "0.750", "±", "0.354", "0.750", "0.500", "volume-0_of_the_hospital"]
    assert iou == ["IoU", "2", "0.667", "±", "0.471", "0.667", "0.600", "0.333", "volume-0_of_the_hospital"]


def test_numbers_are_whole_at_80_columns_and_long_names_wrap():
    text = text_of(80, SCORES)
    assert max(len(line) for line in text.splitlines()) <= 80
    for number in ("0.750 ± 0.354", "0.667 ± 0.471", "1 of 2"):
        assert number in text
    assert "…" not in text


def test_empty_cases_are_said_below_the_table():
    text = " ".join(text_of(200, SCORES).split())
    assert "tumour: only in the segmentation in 1, in neither in 1 of 2 studies." in text
    assert "liver:" not in text
    assert "2 studies: pixel accuracy 0.625" in text


def test_one_study_has_no_standard_deviation_and_no_study_no_rows():
    text = text_of(120, SCORES[:1])
    assert "±" not in text.split("median")[1]
    assert "nan" not in text.lower()
    assert "Dice" not in text_of(120, [])


def test_names_are_text_and_not_markup():
    scores = score_arrays("[red]", np.array([0, 1], np.uint8), np.array([0, 1], np.uint8), ("[bold]liver",), 1.0)
    text = text_of(120, [scores])
    assert "[red]" in text
    assert "[bold]liver" in text


def test_markdown_has_one_row_a_label_and_score():
    lines = markdown_table(summarise(SCORES), overall(SCORES)).splitlines()
    assert lines[0] == "| label | score | n | mean ± sd | median | pooled | worst | study |"
    assert lines[2] == "| liver | Dice | 2 | 0.750 ± 0.354 | 0.750 |  | 0.500 | volume-0_of_the_hospital |"
    assert lines[4] == "| tumour | Dice | 1 of 2 | 0.000 | 0.000 |  | 0.000 | volume-1_of_the_hospital |"
    assert all(line.count("|") == lines[0].count("|") for line in lines[:6])


def test_tracker_rows_are_plain_and_alike():
    rows = study_rows(SCORES)
    assert [(row["study_id"][:8], row["label"]) for row in rows] == [
        ("volume-0", "liver"),
        ("volume-0", "tumour"),
        ("volume-1", "liver"),
        ("volume-1", "tumour"),
    ]
    assert len({tuple(row) for row in rows}) == 1
    assert (rows[0]["dice"], rows[0]["reference_ml"], rows[0]["accuracy"]) == (0.5, 1.0, 0.5)
    assert rows[1]["dice"] is None
