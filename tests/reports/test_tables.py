import io
import re

import numpy as np
import pytest
from rich.console import Console

from medseg.evaluation.options import ScoringOptions
from medseg.evaluation.scores import StudyScores, score_arrays
from medseg.evaluation.summary import overall, summarise
from medseg.reports.tables import markdown_table, score_table, study_rows

OVERLAP = ScoringOptions(surface=False)


def study(
    study_id: str, reference: list[int], segmentation: list[int], options: ScoringOptions = OVERLAP
) -> StudyScores:
    arrays = (np.array(values, dtype=np.uint8).reshape(-1, 1, 1) for values in (reference, segmentation))
    return score_arrays(study_id, *arrays, ("liver", "tumour"), np.diag([10.0, 10.0, 5.0, 1.0]), options)


# liver: Dice 1/2 and 1 (mean 3/4, sd 0.354), IoU 1/3 and 1; tumour: in neither, and only in the segmentation
PAIRS = {
    "volume-0_of_the_hospital": ([0, 1, 1, 0], [0, 1, 0, 1]),
    "volume-1_of_the_hospital": ([0, 1, 1, 0], [0, 1, 1, 2]),
}
SCORES = [study(name, *pair) for name, pair in PAIRS.items()]
FULL_OPTIONS = ScoringOptions(tolerance_mm={"liver": 7}, lesions=("tumour",))
FULL = [study(name, *pair, FULL_OPTIONS) for name, pair in PAIRS.items()]


def text_of(width: int, scores: list[StudyScores], options: ScoringOptions | None = None) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(score_table(summarise(scores), overall(scores), options))
    return console.file.getvalue()


def test_the_terminal_table_shows_the_numbers_worked_out_by_hand():
    text = text_of(120, SCORES)
    (dice, iou, volume) = (line.split() for line in text.splitlines() if "±" in line and "mean" not in line)
    assert dice == ["liver", "Dice", "2", "0.750", "±", "0.354", "0.750", "0.500", "volume-0_of_the_hospital"]
    assert iou == ["IoU", "2", "0.667", "±", "0.471", "0.667", "0.333", "volume-0_of_the_hospital"]
    assert volume == ["volume", "%", "2", "0.0", "±", "0.0", "0.0", "0.0", "volume-0_of_the_hospital"]
    assert "NSD" not in text.split("study")[1].split("studies")[0]  # not scored, so without a row


def test_the_pooled_iou_and_the_interval_stand_below():
    text = " ".join(text_of(200, SCORES).split())
    assert "Of all studies' voxels put together: IoU liver 0.600, tumour 0.000; mIoU" in text
    # of two studies two are drawn: 0.5, 0.75 or 1
    assert "95 % interval of the mean Dice: liver [0.500, 1.000], tumour -." in text


def test_surfaces_and_lesions_have_rows_where_they_were_scored():
    text = text_of(120, FULL, FULL_OPTIONS)
    scored = re.findall(r"NSD . mm|HD95 mm|ASSD mm|lesion F1|FP lesions", text)
    surfaces = ["HD95 mm", "ASSD mm"]
    assert scored == ["NSD 7 mm", *surfaces, "NSD 2 mm", *surfaces, "lesion F1", "FP lesions"]
    flat = " ".join(text.split())
    assert "tumour, lesion by lesion: 0 of 0 found (<10 mm 0 of 0, 10-20 mm 0 of 0, >20 mm 0 of 0), 1 false" in flat
    assert "(0.50 a study); sensitivity -, precision 0.000, F1 0.000, mean Dice -." in flat
    assert "Surfaces are made of elements. Lesions are paired one to one from an IoU of 0.1 on." in flat


@pytest.mark.parametrize(
    ("empty_as", "note"),
    [("nan", "counts in no mean"), ("one", "counts as 1 in overlap"), ("zero", "counts as 0 in overlap")],
)
def test_what_a_label_in_neither_counts_as_is_said(empty_as, note):
    options = ScoringOptions(surface=False, empty_as=empty_as)
    scores = [study(name, *pair, options) for name, pair in PAIRS.items()]
    assert f"both lack {note}" in " ".join(text_of(120, scores, options).split())
    assert f"both lack {note}" in markdown_table(summarise(scores), overall(scores), options)


@pytest.mark.parametrize("scores", [SCORES, FULL])
def test_numbers_are_whole_at_80_columns_and_long_names_wrap(scores):
    text = text_of(80, scores)
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
    scores = score_arrays(
        "[red]", *[np.array([0, 1], np.uint8).reshape(-1, 1, 1)] * 2, ("[bold]liver",), np.eye(4), OVERLAP
    )
    text = text_of(120, [scores])
    assert "[red]" in text
    assert "[bold]liver" in text


def test_markdown_has_one_row_a_label_and_score():
    lines = markdown_table(summarise(SCORES), overall(SCORES)).splitlines()
    assert lines[0] == "| label | score | n | mean ± sd | 95 % interval | median [q1, q3] | worst | study |"
    numbers = "0.750 ± 0.354 | [0.500, 1.000] | 0.750 [0.625, 0.875] | 0.500"
    assert lines[2] == f"| liver | Dice | 2 | {numbers} | volume-0_of_the_hospital |"
    assert lines[5] == "| tumour | Dice | 1 of 2 | 0.000 | - | 0.000 | 0.000 | volume-1_of_the_hospital |"
    assert all(line.count("|") == lines[0].count("|") for line in lines[:8])
    assert lines[8] == ""
    assert "lesions" not in lines[9]


def test_markdown_has_a_table_of_lesions_by_size():
    reference, segmentation = [2, 2, 0, 2, 0], [2, 2, 0, 0, 2]  # 20 mm long found, 10 mm long missed, one false
    scores = [study("a", reference, segmentation, FULL_OPTIONS)]
    lines = markdown_table(summarise(scores), overall(scores), FULL_OPTIONS).splitlines()
    start = lines.index(
        "| label | lesions | in reference | found | sensitivity | false positives | precision | F1 | Dice |"
    )
    assert lines[start + 2 : start + 6] == [
        "| tumour | all | 2 | 1 | 0.500 | 1 (1.00 a study) | 0.500 | 0.500 | 0.500 |",
        "| tumour | <10 mm | 0 | 0 | - |  |  |  |  |",
        "| tumour | 10-20 mm | 1 | 0 | 0.000 |  |  |  |  |",
        "| tumour | >20 mm | 1 | 1 | 1.000 |  |  |  |  |",
    ]


def test_tracker_rows_are_plain_and_alike():
    rows = study_rows(SCORES)
    assert [(row["study_id"][:8], row["label"]) for row in rows] == [
        ("volume-0", "liver"),
        ("volume-0", "tumour"),
        ("volume-1", "liver"),
        ("volume-1", "tumour"),
    ]
    assert len({tuple(row) for row in rows}) == 1
    assert (rows[0]["dice"], rows[0]["reference_ml"], rows[0]["accuracy"]) == (0.5, pytest.approx(1.0), 0.5)
    assert (rows[1]["dice"], rows[1]["nsd"], rows[1]["reference_lesions"], rows[1]["note"]) == (None, None, None, "")
    full = study_rows(FULL)
    assert (full[3]["nsd"], full[3]["false_positive_lesions"]) == (0.0, 1)
    assert full[0].keys() == rows[0].keys()
