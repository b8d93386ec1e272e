"""Class-wise scores as tables: in the terminal, in Markdown for a paper, and as plain rows for a tracker."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from medseg.evaluation.lesions import LesionSummary
from medseg.evaluation.options import ScoringOptions
from medseg.evaluation.scores import StudyScores
from medseg.evaluation.spread import Spread
from medseg.evaluation.summary import Overall, Summary
from medseg.files import without_nan

if TYPE_CHECKING:
    from rich.table import Table

_TERMINAL = ("label", "score", "n", "mean ± sd", "median", "worst", "study")
_PAPER = ("label", "score", "n", "mean ± sd", "95 % interval", "median [q1, q3]", "worst", "study")
_LESIONS = ("label", "lesions", "in reference", "found", "sensitivity", "false positives", "precision", "F1", "Dice")
_TEXT = ("label", "score", "study", "lesions")

_SCORES = (
    ("dice", "Dice", 1, 3),
    ("iou", "IoU", 1, 3),
    ("nsd", "NSD", 1, 3),
    ("hd95_mm", "HD95 mm", 1, 2),
    ("assd_mm", "ASSD mm", 1, 2),
    ("relative_volume_difference", "volume %", 100, 1),
    ("lesion_f1", "lesion F1", 1, 3),
    ("false_positive_lesions", "FP lesions", 1, 2),
)
"""Field, name in the table, factor, decimals."""

_LABEL_WIDTH = 12
"""Characters of a label that stay on one line however long the studies' names are."""

_STATISTICS = (
    "n: studies in which the score is defined; sd: over n - 1; 95 % interval: percentile bootstrap of the mean over "
    "studies."
)
_EMPTY = {
    "nan": "counts in no mean",
    "zero": "counts as 0 in overlap and NSD (empty_as: zero)",
    "one": "counts as 1 in overlap and NSD, and as 0 mm (empty_as: one)",
}


def score_table(
    summaries: Sequence[Summary], whole: Overall | None = None, options: ScoringOptions | None = None
) -> Table:
    """Class-wise scores for the terminal; reads well from 80 columns on. What was not scored has no row.

    Args:
        summaries: of ``evaluation.summary.summarise``; none gives a table without rows.
        whole: adds accuracy and mean IoU below.
        options: how the studies were scored, so that the notes say it.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        caption="\n".join(_notes(summaries, whole, options, paper=False)),
        caption_justify="left",
    )
    longest = max((len(summary.label) for summary in summaries), default=0)
    for heading in _TERMINAL:
        table.add_column(
            heading,
            min_width=min(longest, _LABEL_WIDTH) if heading == "label" else None,
            justify="left" if heading in _TEXT else "right",
            no_wrap=heading not in ("label", "study"),  # names may be long and wrap; numbers are never cut
            overflow="fold",
            style="bold" if heading == "mean ± sd" else "",
        )
    for summary in summaries:
        rows = list(_rows(summary))
        for index, (name, spread, factor, decimals) in enumerate(rows):
            cells = _cells(spread, summary.n, factor, decimals, paper=False)
            label = escape(summary.label) if index == 0 else ""
            table.add_row(label, *map(escape, (name, *cells)), end_section=index == len(rows) - 1)
    return table


def markdown_table(
    summaries: Sequence[Summary], whole: Overall | None = None, options: ScoringOptions | None = None
) -> str:
    """The same scores in Markdown for a paper, with quartiles; lesions by size in a table of their own; notes below.

    Ends with a line break.
    """
    rows = [
        (summary.label, name, *_cells(spread, summary.n, factor, decimals, paper=True))
        for summary in summaries
        for name, spread, factor, decimals in _rows(summary)
    ]
    blocks = [_markdown(_PAPER, rows)]
    lesions = [row for summary in summaries if summary.lesions for row in _lesion_rows(summary.label, summary.lesions)]
    if lesions:
        blocks.append(_markdown(_LESIONS, lesions))
    return "\n\n".join([*blocks, *_notes(summaries, whole, options, paper=True)]) + "\n"


def study_rows(scores: Iterable[StudyScores]) -> list[dict[str, Any]]:
    """One plain dict a study and label, with the study's own scores; None for NaN.

    All rows have the same keys, those of ``evaluation.csv``, as table views of trackers want it.
    """
    rows = []
    for study in scores:
        own = {key: getattr(study, key) for key in ("accuracy", "miou", "miou_foreground", "fw_iou", "note")}
        for row in study.rows:
            cells = {**asdict(row), **own}
            rows.append(without_nan(cells))
    return rows


def _rows(summary: Summary) -> Iterator[tuple[str, Spread, float, int]]:
    """Name, spread, factor and decimals of each score that was asked for."""
    for field, name, factor, decimals in _SCORES:
        spread = summary.spreads[field]
        if field in ("nsd", "hd95_mm", "assd_mm") and math.isnan(summary.tolerance_mm) and not spread.n:
            continue
        if field in ("lesion_f1", "false_positive_lesions") and summary.lesions is None:
            continue
        if field == "nsd" and not math.isnan(summary.tolerance_mm):
            name = f"NSD {summary.tolerance_mm:g} mm"
        yield name, spread, factor, decimals


def _cells(spread: Spread, n: int, factor: float, decimals: int, *, paper: bool) -> tuple[str, ...]:
    def number(value: float) -> str:
        return _number(value * factor, decimals)

    count = str(n) if spread.n == n else f"{spread.n} of {n}"
    mean = number(spread.mean) if math.isnan(spread.sd) else f"{number(spread.mean)} ± {number(spread.sd)}"
    interval = _interval(spread, factor, decimals)
    median = number(spread.median)
    worst = number(spread.worst_value), spread.worst or "-"
    if not paper:
        return count, mean, median, *worst
    if spread.n > 1:
        median += f" [{number(spread.q1)}, {number(spread.q3)}]"
    return count, mean, interval, median, *worst


def _interval(spread: Spread, factor: float = 1, decimals: int = 3) -> str:
    low, high = (_number(value * factor, decimals) for value in (spread.low, spread.high))
    return "-" if math.isnan(spread.low) else f"[{low}, {high}]"


def _lesion_rows(label: str, lesions: LesionSummary) -> Iterator[tuple[str, ...]]:
    false = f"{lesions.false_positives} ({lesions.false_positives_per_study:.2f} a study)"
    shares = (_number(value) for value in (lesions.precision, lesions.f1, lesions.mean_dice))
    yield (
        label,
        "all",
        str(lesions.reference_lesions),
        str(lesions.found),
        _number(lesions.sensitivity),
        false,
        *shares,
    )
    for group in lesions.groups:
        yield (
            label,
            group.size,
            str(group.reference_lesions),
            str(group.found),
            _number(group.sensitivity),
            "",
            "",
            "",
            "",
        )


def _markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rules = ["---" if heading in _TEXT else "---:" for heading in headings]
    lines = ["| " + " | ".join(headings) + " |", "|" + "|".join(rules) + "|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _number(value: float, decimals: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{decimals}f}"


def _notes(
    summaries: Sequence[Summary], whole: Overall | None, options: ScoringOptions | None, *, paper: bool
) -> list[str]:
    """What the table leaves unsaid; the terminal's leaves out Dice's interval and the lesions."""
    lines = []
    if whole is not None:
        studies = "1 study" if whole.n == 1 else f"{whole.n} studies"
        lines.append(
            f"{studies}: pixel accuracy {_number(whole.accuracy)}, mIoU {_number(whole.miou)} "
            f"(without background {_number(whole.miou_foreground)}), frequency-weighted IoU {_number(whole.fw_iou)}."
        )
        pooled = ", ".join(f"{summary.label} {_number(summary.dataset_iou)}" for summary in summaries)
        lines.append(
            f"Of all studies' voxels put together: IoU {pooled or '-'}; mIoU {_number(whole.dataset_miou)} "
            f"(without background {_number(whole.dataset_miou_foreground)})."
        )
    if not paper and any(summary.dice.n > 1 for summary in summaries):
        intervals = ", ".join(f"{summary.label} {_interval(summary.dice)}" for summary in summaries)
        lines.append(f"95 % interval of the mean Dice: {intervals}.")
    for summary in summaries:
        cases = {
            "only in the segmentation": summary.n_empty_reference,
            "only in the reference": summary.n_empty_segmentation,
            "in neither": summary.n_empty_both,
        }
        counted = ", ".join(f"{where} in {count}" for where, count in cases.items() if count)
        if counted:
            lines.append(f"{summary.label}: {counted} of {summary.n} studies.")
        if not paper and summary.lesions is not None:
            lines.append(_lesion_line(summary.label, summary.lesions))
    return [*lines, f"{_STATISTICS} {_explained(summaries, options)}"]


def _lesion_line(label: str, lesions: LesionSummary) -> str:
    sizes = ", ".join(f"{group.size} {group.found} of {group.reference_lesions}" for group in lesions.groups)
    return (
        f"{label}, lesion by lesion: {lesions.found} of {lesions.reference_lesions} found ({sizes}), "
        f"{lesions.false_positives} false ({lesions.false_positives_per_study:.2f} a study); sensitivity "
        f"{_number(lesions.sensitivity)}, precision {_number(lesions.precision)}, F1 {_number(lesions.f1)}, "
        f"mean Dice {_number(lesions.mean_dice)}."
    )


def _explained(summaries: Sequence[Summary], options: ScoringOptions | None) -> str:
    """The meaning of the empty cases, and of lesions where there are any."""
    nothing = _EMPTY[options.empty_as if options else "nan"]
    text = (
        f"A label that reference and segmentation both lack {nothing}; one that only one of them lacks counts as 0 in "
        "overlap and NSD, and has no distances."
    )
    if options and any(not math.isnan(summary.tolerance_mm) for summary in summaries):
        text += f" Surfaces are made of {options.definition}."
    if options and any(summary.lesions for summary in summaries):
        text += f" Lesions are paired one to one from an IoU of {options.min_overlap:g} on."
    return text
