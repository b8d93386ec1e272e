import io

from rich.console import Console

from medseg.evaluation.tuning import Gain, Step, Tuning
from medseg.reports.tuning import tuning_table

NAN = float("nan")
TUNING = Tuning(
    kept=(Gain(Step("inside", "tumour", "liver", 5.0), 0.5, 0.75, 3, 1),),
    refused=(
        Gain(Step("keep_largest", "vein"), NAN, NAN, 0, 0, "in no study"),
        Gain(Step("keep_largest", "tumour"), 0.75, 0.5, 0, 2, "lowers it"),
        Gain(Step("minimum_ml", "tumour", amount=0.1), 0.75, 0.7504, 1, 0, "gains too little"),
    ),
    studies=4,
)


def text_of(width):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(tuning_table(TUNING))
    return console.file.getvalue()


def test_kept_steps_come_first_then_the_others_from_the_largest_gain_down():
    rows = [line.split() for line in text_of(120).splitlines() if ":" in line and "Mean" not in line]
    assert [" ".join(row) for row in rows] == [
        "inside: tumour in liver + 5 mm 0.5000 0.7500 +0.2500 3 1 kept",
        "minimum_ml: tumour 0.1 ml 0.7500 0.7504 +0.0004 1 0 gains too little",
        "keep_largest: tumour 0.7500 0.5000 -0.2500 0 2 lowers it",
        "keep_largest: vein - - - 0 0 in no study",
    ]
    assert "over 4 validation studies" in text_of(120)


def test_no_number_is_cut_at_80_columns():
    text = text_of(80)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert all(number in text for number in ("0.7504", "+0.2500", "-0.2500"))


def test_of_several_amounts_the_best_is_shown_and_none_beside_a_kept_one():
    def step(least, gain, refused="", label="tumour"):
        return Gain(Step("thresholds", label, amount=least), 0.5, 0.5 + gain, 1, 1, refused)

    refused = (step(0.3, 0.1, "outdone"), step(0.4, -0.2, "lowers it", "liver"), step(0.5, -0.1, "lowers it", "liver"))
    console = Console(width=120, file=io.StringIO(), force_terminal=False)
    console.print(tuning_table(Tuning((step(0.2, 0.2),), refused, 3, thresholds=True)))
    text = console.file.getvalue()
    assert [part for part in ("tumour 0.2", "tumour 0.3", "liver 0.4", "liver 0.5") if part in text] == [
        "tumour 0.2",
        "liver 0.5",
    ]
