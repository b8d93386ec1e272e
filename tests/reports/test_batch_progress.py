"""A batch as it is seen: two lines on a terminal, a line a study in a file, nothing when quiet."""

import io

import pytest
from rich.console import Console

from medseg.batch.record import Outcome
from medseg.reports.batch_progress import BatchDisplay, batch_summary, summary_lines


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_file_gets_a_line_a_study_and_leaves_failures_to_the_log():
    out = io.StringIO()
    with BatchDisplay(3, Console(file=out, width=40)) as display:
        display.stage("a", "read")
        display.done(Outcome("a", "ok", total_s=1.25))
        display.done(Outcome("b", "failed", "why"))
        display.done(Outcome("[c] " + "x" * 50, "skipped", "done before"))
    assert out.getvalue().splitlines() == [
        "segmenting: 3",
        "[1/3] a ok 1.2 s",
        "[3/3] [c] " + "x" * 50 + " skipped (done before)",
    ]


def test_terminal_gets_a_line_for_the_batch_and_one_for_the_study():
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, width=120, force_terminal=True, color_system=None)
    with BatchDisplay(8, console, clock=clock) as display:
        clock.now = 30.0
        for outcome in (Outcome("z", "skipped"), Outcome("y", "ok"), Outcome("x", "failed", "why")):
            display.done(outcome)
        display.stage("[b]", "read")
        display.stage("a", "predict")
        display._live.refresh()
    text = out.getvalue()
    assert "1 done, 1 failed, 1 skipped, 4.0/min, 1 min left" in text  # 2 in half a minute; 5 left
    assert "3/8" in text
    assert "a: predict (and 1 more in hand)" in text
    assert "[1/8]" not in text


def test_quiet_shows_nothing(capsys):
    with BatchDisplay(1, quiet=True) as display:
        display.stage("a", "read")
        display.done(Outcome("a", "ok"))
    assert capsys.readouterr() == ("", "")


def test_summary_counts_and_measures(tmp_path):
    outcomes = [
        Outcome("a", "ok", peak_gib=1.5),
        Outcome("b", "failed", "why", peak_gib=0.5),
        Outcome("c", "skipped", peak_gib=9.0),
    ]
    summary = batch_summary(outcomes, 30.0, tmp_path / "segment.jsonl")
    assert summary == {
        "studies": 3,
        "ok": 1,
        "failed": 1,
        "skipped": 1,
        "failures": {"b": "why"},
        "seconds": 30.0,
        "studies_per_minute": 4.0,
        "peak_gib": 1.5,
        "record": str(tmp_path / "segment.jsonl"),
    }
    assert summary_lines(summary) == [
        "2 of 3 studies segmented (1 of them before)",
        "1 failed:",
        "  b: why",
        f"4 studies a minute, log: {tmp_path / 'segment.jsonl'}",
    ]


def test_summary_names_twenty_failures_at_most(tmp_path):
    lines = summary_lines(batch_summary([Outcome(f"s{n}", "failed", "x") for n in range(23)], 1.0, tmp_path / "r"))
    assert lines[1] == "23 failed:"
    assert lines[2:22] == [f"  s{n}: x" for n in range(20)]
    assert lines[22] == "  and 3 more"


@pytest.mark.parametrize("outcomes", [[], [Outcome("a", "skipped")]])
def test_no_work_has_no_speed(tmp_path, outcomes):
    summary = batch_summary(outcomes, 0.0, tmp_path / "r")
    assert (summary["studies_per_minute"], summary["peak_gib"]) == (0.0, 0.0)
    assert summary_lines(summary)[-1] == f"log: {tmp_path / 'r'}"
