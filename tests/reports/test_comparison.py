import csv
import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from medseg.evaluation.comparison import Comparison, compare_evaluations
from medseg.reports.comparison import comparison_markdown, comparison_notes, comparison_tables, write_comparison
from tests.evaluation.compared import evaluation, of_liver

NAN = math.nan

# +0.1 in all of six studies: interval 0.1 to 0.1, p 2/64
STEADY = compare_evaluations(
    {"old": of_liver(*(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)), "new": of_liver(*(0.2, 0.3, 0.4, 0.5, 0.6, 0.7))}
)

# liver: +0.2 in a and b, c fails in new; tumour: b undefined in old alone
MIXED = compare_evaluations(
    {
        "old|er": evaluation(
            {"a": {"liver": 0.5, "tumour": 0.1}, "b": {"liver": 0.5, "tumour": NAN}, "c": {"liver": 0.9}}
        ),
        "[red]new": evaluation({"a": {"liver": 0.7, "tumour": 0.3}, "b": {"liver": 0.7, "tumour": 0.2}}, failed=("c",)),
    }
)


def text_of(comparison: Comparison, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(comparison_tables(comparison))
    return console.file.getvalue()


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_terminal_shows_the_numbers_worked_out_by_hand():
    lines = [line.split() for line in text_of(STEADY, 100).splitlines()]
    assert ["liver", "6", "+0.100", "[+0.100,", "+0.100]", "+0.100", "100", "%", "0", "%", "0.031", "0.031"] in lines
    first = next(line for line in lines if line[:3] == ["liver", "1", "new"])
    assert (first[3:5], first[-4:]) == (["6", "0.450"], ["100", "%", "1", "1.00"])
    text = text_of(STEADY, 100)
    assert "dice (larger is better)" in text
    assert "new - old: differences in dice" in text
    assert "all tests here (1)" in " ".join(text.split())


def test_numbers_are_whole_at_80_columns_and_long_names_wrap():
    first, second = "20260301-120301-unet-of-the-hospital", "20260302-090000-fcn-of-the-hospital"
    named = {first: of_liver(0.5, 0.6, 0.7), second: of_liver(0.6, 0.8, 0.65)}
    text = text_of(compare_evaluations(named), 80)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    assert "+0.083 [-0.050, +0.200]" in text
    assert f"{second} - {first}" in " ".join(text.split())


def test_names_are_text_and_not_markup():
    text = text_of(MIXED, 100)
    assert "[red]new - old|er: differences in dice" in text
    assert "| [red]new |" in comparison_markdown(MIXED)
    assert "| old\\|er |" in comparison_markdown(MIXED)


def test_distances_have_two_decimals_and_say_their_direction():
    pair = {"old": of_liver(4.0, 6.0, score="hd95_mm"), "new": of_liver(3.0, 3.0, score="hd95_mm")}
    text = text_of(compare_evaluations(pair, "hd95_mm"), 80)
    assert "hd95_mm (smaller is better)" in text
    assert "-2.00 [-3.00, -1.00]" in text
    assert "100 %" in text


def test_what_is_left_out_is_said():
    notes = comparison_notes(MIXED)
    assert notes[0] == "[red]new: no scores in 1 study (c) that others have, failed in 1 study (c)."
    assert "tumour, [red]new - old|er: no score of old|er alone in 1 study (b): not in the difference." in notes
    assert "tumour, [red]new - old|er: 1 pair that differs can give no p below 1." in notes
    assert "liver, [red]new - old|er: 2 pairs that differ can give no p below 0.5." in notes
    assert comparison_notes(STEADY) == []


def test_both_undefined_a_label_missing_and_no_pair_are_said():
    first = evaluation({"a": {"liver": NAN, "spleen": 0.5}, "b": {"liver": 0.5, "spleen": 0.4}})
    second = evaluation({"a": {"liver": NAN}, "b": {"liver": 0.7}})
    notes = comparison_notes(compare_evaluations({"x": first, "y": second}))
    assert "liver, y - x: no score of both in 1 study (a): not in the difference." in notes
    assert "spleen, y - x: y does not have this label in 2 studies (a, b)." in notes
    assert "spleen, y - x: no pair." in notes
    assert "spleen: no study in which all methods have a score, so no ranking." in notes


def test_long_lists_are_cut_in_the_terminal_alone():
    first = evaluation({f"s{i}": {"liver": 0.5} for i in range(20)})
    second = evaluation({f"s{i}": {"liver": 0.6} for i in range(12)})
    comparison = compare_evaluations({"x": first, "y": second})
    assert "8 studies (s12, s13, s14, s15, s16 and 3 more)" in " ".join(text_of(comparison, 100).split())
    assert "8 studies (s12, s13, s14, s15, s16, s17, s18, s19)" in comparison_markdown(comparison)


def test_many_notes_are_cut_in_the_terminal_alone():
    labels = [f"organ{i}" for i in range(20)]
    first = evaluation({s: dict.fromkeys(labels, 0.5 if s == "a" else NAN) for s in "ab"})
    comparison = compare_evaluations({"x": first, "y": evaluation({s: dict.fromkeys(labels, 0.5) for s in "ab"})})
    notes = comparison_notes(comparison)
    assert f"And {len(notes) - 12} notes more, all of them in comparison.md." in " ".join(
        text_of(comparison, 100).split()
    )
    assert all(note in comparison_markdown(comparison) for note in notes)


def test_markdown_tables_have_a_cell_for_each_heading():
    tables = [line for line in comparison_markdown(MIXED).splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") - 1 for line in tables} == {8}
    assert comparison_markdown(MIXED).endswith(".\n")


def test_files_hold_the_same_numbers(tmp_path):
    paths = write_comparison(STEADY, tmp_path / "new")
    names = ["comparison.md", "comparison.csv", "ranks.csv", "differences.csv", "comparison.json"]
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(names)
    assert paths[0].read_text() == comparison_markdown(STEADY)
    (pair,) = rows_of(paths[1])
    assert (pair["metric"], pair["label"], pair["first"], pair["second"], pair["n"]) == (
        "dice",
        "liver",
        "old",
        "new",
        "6",
    )
    assert (float(pair["p"]), float(pair["smallest_p"]), float(pair["mean_difference"])) == pytest.approx(
        (2 / 64, 2 / 64, 0.1)
    )
    ranks = rows_of(paths[2])
    assert [(row["method"], row["rank"], row["share_rank_1"]) for row in ranks] == [
        ("new", "1", "1.0"),
        ("old", "2", "0.0"),
    ]
    document = json.loads(paths[4].read_text())
    assert document["pairs"][0]["p_holm"] == pytest.approx(2 / 64)
    assert [study["study_id"] for study in document["pairs"][0]["studies"]] == list("abcdef")
    assert document["rankings"][0]["standings"][0]["shares"] == [1, 0]


def test_every_study_has_its_row_with_or_without_a_difference(tmp_path):
    write_comparison(MIXED, tmp_path)
    rows = {(row["label"], row["study_id"]): row for row in rows_of(tmp_path / "differences.csv")}
    assert float(rows["liver", "a"]["difference"]) == pytest.approx(0.2)
    assert (rows["liver", "c"]["difference"], rows["liver", "c"]["left_out"]) == ("", "missing_second")
    assert rows["tumour", "b"]["left_out"] == "undefined_first"
    document = json.loads((tmp_path / "comparison.json").read_text())
    assert document["methods"][1] == {"name": "[red]new", "scored": 2, "failed": ["c"], "missing": ["c"]}


def test_no_ranking_at_all_still_writes_files(tmp_path):
    named = {
        name: evaluation({s: {"liver": 0.5} for s in ids}) for name, ids in (("x", "ab"), ("y", "bc"), ("z", "ca"))
    }
    write_comparison(compare_evaluations(named), tmp_path)
    assert rows_of(tmp_path / "ranks.csv") == []
    assert len(rows_of(tmp_path / "comparison.csv")) == 3
