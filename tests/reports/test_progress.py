"""What is shown: plain lines in a file, a bar on a terminal, nothing when quiet."""

import io

from rich.console import Console

from medseg.reports.progress import Display


def _file_display() -> tuple[Display, io.StringIO]:
    out = io.StringIO()
    return Display(Console(file=out, width=100)), out


def test_file_gets_one_line_a_stage_and_no_bar() -> None:
    display, out = _file_display()
    with display.stage("segmenting", 3):
        for name in ("a", "b", "c"):
            display.advance(name)
    assert out.getvalue() == "segmenting: 3\n"


def test_terminal_gets_a_bar_with_counts_and_the_last_note() -> None:
    out = io.StringIO()
    display = Display(Console(file=out, width=100, force_terminal=True, color_system=None))
    with display.stage("training", 10) as same:
        assert same is display
        display.advance("first")
        display.advance("40%, best Dice 0.500", completed=4)
    last = [line for line in out.getvalue().splitlines() if "training" in line][-1]
    assert "4/10" in last
    assert "40%, best Dice 0.500" in last


def test_how_many_there_are_may_be_said_later() -> None:
    out = io.StringIO()
    with Display(Console(file=out, width=100, force_terminal=True, color_system=None)).stage("evaluating", None) as bar:
        bar.advance("a", completed=3, total=7)
        bar.advance("b")
    assert "4/7" in [line for line in out.getvalue().splitlines() if "evaluating" in line][-1]
    display, plain = _file_display()
    with display.stage("evaluating", None):
        display.advance("a", completed=1, total=7)
    assert plain.getvalue() == "evaluating\n"


def test_advance_outside_a_stage_does_nothing() -> None:
    display, out = _file_display()
    display.advance("nobody counts")
    with display.stage("a", 1):
        pass
    display.advance("nobody counts")
    assert out.getvalue() == "a: 1\n"


def test_long_lines_are_not_wrapped() -> None:
    display, out = _file_display()
    display.message("x" * 300 + " [not markup]")
    assert len(out.getvalue().splitlines()) == 1


def test_epoch_that_validated_is_one_line_of_loss_and_class_wise_dice() -> None:
    display, out = _file_display()
    row = {"epoch": 3.0, "train/loss": 0.25, "val/dice/liver": 0.9, "val/dice/mean": 0.9, "val/iou/liver": 0.8}
    display.epoch(row, epochs=20)
    assert out.getvalue() == "epoch 3/20  loss 0.2500  validation Dice: liver 0.900  mean 0.900\n"


def test_epoch_without_validation_is_silent() -> None:
    display, out = _file_display()
    display.epoch({"epoch": 3.0, "train/loss": 0.25}, epochs=20)
    assert out.getvalue() == ""


def test_quiet_shows_nothing(capsys) -> None:
    display = Display(quiet=True)
    with display.stage("training", 2):
        display.advance("one")
        display.message("a line")
    assert capsys.readouterr() == ("", "")


def test_progress_goes_to_the_standard_error_so_that_tables_can_be_piped(capsys) -> None:
    Display().message("a line")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "a line\n")
