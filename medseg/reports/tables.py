"""Class-wise scores as tables: in the terminal, in Markdown, and as plain rows for a tracker."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from medseg.evaluation import Overall, Spread, StudyScores, Summary

if TYPE_CHECKING:
    from rich.table import Table

_HEADINGS = ("label", "score", "n", "mean ± sd", "median", "pooled", "worst", "study")
_TEXT = ("label", "score", "study")

_EXPLANATION = (
    "n: studies that count; sd: over n - 1; pooled: IoU of all studies' voxels put together. A label "
    "that reference and segmentation both lack counts in no mean; one that only one of them lacks counts as 0."
)


def score_table(summaries: Sequence[Summary], whole: Overall | None = None) -> Table:
    """Class-wise Dice and IoU for the terminal; reads well from 80 columns on.

    Args:
        summaries: of ``evaluation.summarise``; none gives a table without rows.
        whole: adds accuracy and mean IoU below.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        caption="\n".join(_notes(summaries, whole)),
        caption_justify="left",
    )
    for heading in _HEADINGS:
        table.add_column(
            heading,
            justify="left" if heading in _TEXT else "right",
            no_wrap=heading not in ("label", "study"),  # names may be long and wrap; numbers are never cut
            overflow="fold",
            style="bold" if heading == "mean ± sd" else "",
        )
    for summary in summaries:
        dice, iou = (tuple(escape(cell) for cell in row) for row in _rows(summary))
        table.add_row(*dice)
        table.add_row("", *iou[1:], end_section=True)
    return table


def markdown_table(summaries: Sequence[Summary], whole: Overall | None = None) -> str:
    """The same table in Markdown, the notes as paragraphs below; ends with a line break."""
    rules = ["---" if heading in _TEXT else "---:" for heading in _HEADINGS]
    lines = ["| " + " | ".join(_HEADINGS) + " |", "|" + "|".join(rules) + "|"]
    for summary in summaries:
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in _rows(summary)]
    return "\n".join(lines) + "\n\n" + "\n\n".join(_notes(summaries, whole)) + "\n"


def study_rows(scores: Iterable[StudyScores]) -> list[dict[str, Any]]:
    """One plain dict a study and label, with the study's own scores; None for NaN.

    All rows have the same keys, those of ``evaluation.csv``, as table views of trackers want it.
    """
    rows = []
    for study in scores:
        own = {"accuracy": study.accuracy, "miou": study.miou, "miou_foreground": study.miou_foreground}
        for row in study.rows:
            cells = {**asdict(row), **own}
            rows.append({k: None if isinstance(v, float) and math.isnan(v) else v for k, v in cells.items()})
    return rows


def _rows(summary: Summary) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (
        (summary.label, "Dice", *_cells(summary.dice, summary.n, "")),
        (summary.label, "IoU", *_cells(summary.iou, summary.n, _number(summary.dataset_iou))),
    )


def _cells(spread: Spread, n: int, pooled: str) -> tuple[str, ...]:
    count = str(n) if spread.n == n else f"{spread.n} of {n}"
    mean = _number(spread.mean) if math.isnan(spread.sd) else f"{spread.mean:.3f} ± {spread.sd:.3f}"
    return count, mean, _number(spread.median), pooled, _number(spread.min), spread.worst or "-"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _notes(summaries: Sequence[Summary], whole: Overall | None) -> list[str]:
    lines = []
    if whole is not None:
        studies = "1 study" if whole.n == 1 else f"{whole.n} studies"
        lines.append(
            f"{studies}: pixel accuracy {_number(whole.accuracy)}, mIoU {_number(whole.miou)} "
            f"(without background {_number(whole.miou_foreground)}); pooled mIoU "
            f"{_number(whole.dataset_miou)} (without background {_number(whole.dataset_miou_foreground)})."
        )
    for summary in summaries:
        cases = {
            "only in the segmentation": summary.n_empty_reference,
            "only in the reference": summary.n_empty_segmentation,
            "in neither": summary.n_empty_both,
        }
        found = ", ".join(f"{where} in {count}" for where, count in cases.items() if count)
        if found:
            lines.append(f"{summary.label}: {found} of {summary.n} studies.")
    return [*lines, _EXPLANATION]
