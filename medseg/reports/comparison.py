"""A comparison of methods in words and numbers: for the terminal, in Markdown, as CSV and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.evaluation.bootstrap import RESAMPLES
from medseg.evaluation.comparison import OVERALL, Comparison, Paired
from medseg.evaluation.ranking import Ranking, Standing
from medseg.files import atomic_path, without_nan, write_csv

if TYPE_CHECKING:
    from rich.console import Group

_PAIR_HEADINGS = ("label", "n", "mean [95 %]", "median", "better", "worse", "p", "p Holm")
_RANK_HEADINGS = ("label", "rank", "method", "n", "mean [95 %]", "held", "ranks", "tau")
_TEXT = ("label", "method")
_FEW_PAIRS = 6
"""Differences other than zero from which Wilcoxon's test can give p < 0.05."""

_NAMED_STUDIES = 5
"""Studies named in the terminal; Markdown and the files name all."""

_MOST_NOTES = 12
"""Lines on studies without a partner in the terminal: a hundred labels have hundreds."""


def comparison_tables(comparison: Comparison) -> Group:
    """Ranks, then one table a pair of methods, then what to know about them; reads well from 80 columns on."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [_rich_table(_rank_title(comparison), _RANK_HEADINGS, _rank_rows(comparison))]
    for first, second in combinations(comparison.methods, 2):
        rows = [_pair_cells(paired, comparison.metric) for paired in _of(comparison, first, second)]
        parts.append(_rich_table(_pair_title(comparison, first, second), _PAIR_HEADINGS, rows))
    notes = comparison_notes(comparison, most=_NAMED_STUDIES)
    if len(notes) > _MOST_NOTES:
        notes = [*notes[:_MOST_NOTES], f"And {len(notes) - _MOST_NOTES} notes more, all of them in comparison.md."]
    return Group(*parts, Text("\n".join([*notes, *_explanations(comparison)]), style="dim"))


def comparison_markdown(comparison: Comparison) -> str:
    """The same tables in Markdown, every study without a partner named; ends with a line break."""
    blocks = [f"## {_rank_title(comparison)}", _markdown_table(_RANK_HEADINGS, _rank_rows(comparison))]
    for first, second in combinations(comparison.methods, 2):
        rows = [_pair_cells(paired, comparison.metric) for paired in _of(comparison, first, second)]
        blocks += [f"## {_pair_title(comparison, first, second)}", _markdown_table(_PAIR_HEADINGS, rows)]
    notes = [_escape(note) for note in comparison_notes(comparison)]
    return "\n\n".join([*blocks, *notes, *_explanations(comparison)]) + "\n"


def comparison_notes(comparison: Comparison, most: int | None = None) -> list[str]:
    """One line for each thing that the numbers do not say: studies without a partner, without a score, and too few.

    Args:
        comparison: of ``evaluation.comparison.compare_evaluations``.
        most: study_ids to name in each list; None names all.
    """
    notes = []
    for method in comparison.coverage:
        if method.missing:
            failed = [study_id for study_id in method.missing if study_id in method.failed]
            listed = f", failed in {_studies(failed, most)}" if failed else ""
            notes.append(f"{method.method}: no scores in {_studies(method.missing, most)} that others have{listed}.")
    for ranking in comparison.rankings:
        if not ranking.studies:
            notes.append(f"{ranking.label}: no study in which all methods have a score, so no ranking.")
    absent = {method.method: set(method.missing) for method in comparison.coverage}
    for paired in comparison.paired:
        notes += _pair_notes(paired, absent, most)
    return notes


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write ``comparison.md``, ``comparison.json`` and three CSV files; each is written whole or not at all.

    ``comparison.csv`` has a row per label and pair of methods, ``ranks.csv`` a row per label and method, and
    ``differences.csv`` a row per label, pair of methods and study, those without a difference included.

    Returns:
        The files.
    """
    paths = [folder / name for name in ("comparison.md", "comparison.csv", "ranks.csv", "differences.csv")]
    with atomic_path(paths[0]) as temporary:
        temporary.write_text(comparison_markdown(comparison), encoding="utf-8")
    pairs = [_plain_pair(paired) for paired in comparison.paired]
    ranks = [_plain_standing(ranking, standing) for ranking in comparison.rankings for standing in ranking.standings]
    studies = [row for paired in comparison.paired for row in _plain_studies(paired)]
    for path, rows in zip(paths[1:], (pairs, ranks, studies), strict=True):
        header = ["metric", *(rows[0] if rows else ())]  # there may be no ranking at all
        write_csv(path, header, ([comparison.metric, *row.values()] for row in rows))
    return [*paths, _write_json(comparison, folder / "comparison.json")]


def _of(comparison: Comparison, first: str, second: str) -> Iterator[Paired]:
    return (paired for paired in comparison.paired if (paired.first, paired.second) == (first, second))


def _rank_title(comparison: Comparison) -> str:
    return f"{comparison.metric} ({comparison.direction} is better)"


def _pair_title(comparison: Comparison, first: str, second: str) -> str:
    return f"{second} - {first}: differences in {comparison.metric}"


def _rank_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for ranking in comparison.rankings:
        for number, standing in enumerate(ranking.standings):
            rows.append(
                (
                    ranking.label if number == 0 else "",
                    str(standing.rank),
                    standing.method,
                    str(len(ranking.studies)) if number == 0 else "",
                    _with_interval(standing.mean, standing.low, standing.high, f".{_decimals(comparison.metric)}f"),
                    _percent(standing.shares[standing.rank - 1]),
                    _range_of_ranks(standing),
                    _number(ranking.tau, ".2f") if number == 0 else "",
                )
            )
    return rows


def _range_of_ranks(standing: Standing) -> str:
    """Ranks between which 95 % of the resampled ones lie."""
    if math.isnan(standing.shares[0]):
        return "-"
    below, low, high = 0.0, 0, 0
    for rank, share in enumerate(standing.shares, start=1):
        below += share
        low = rank if not low and below > 0.025 else low
        high = rank if not high and below > 0.975 else high
    return str(low) if low == high else f"{low}-{high}"


def _pair_cells(paired: Paired, metric: str) -> tuple[str, ...]:
    form = f"+.{_decimals(metric)}f"
    return (
        paired.label,
        str(paired.n),
        _with_interval(paired.mean, paired.low, paired.high, form),
        _number(paired.median, form),
        _percent(paired.share_better),
        _percent(paired.worse / paired.n if paired.n else math.nan),
        _p(paired.p),
        _p(paired.p_holm),
    )


def _pair_notes(paired: Paired, absent: Mapping[str, set[str]], most: int | None) -> Iterator[str]:
    about = f"{paired.label}, {paired.second} - {paired.first}"
    for method, missing in ((paired.first, paired.missing_first), (paired.second, paired.missing_second)):
        without_label = [study_id for study_id in missing if study_id not in absent[method]]
        if without_label:
            yield f"{about}: {method} does not have this label in {_studies(without_label, most)}."
    for method, studies in ((paired.first, paired.undefined_first), (paired.second, paired.undefined_second)):
        if studies:
            yield f"{about}: no score of {method} alone in {_studies(studies, most)}: not in the difference."
    if paired.undefined_both and paired.label != OVERALL:
        yield f"{about}: no score of both in {_studies(paired.undefined_both, most)}: not in the difference."
    if not paired.n:
        yield f"{about}: no pair."
    elif paired.better + paired.worse < _FEW_PAIRS:
        count = paired.better + paired.worse
        pairs = f"{count} pair{'s' if count != 1 else ''} that differ{'s' if count == 1 else ''}"
        yield f"{about}: {pairs} can give no p below {paired.smallest_p:.3g}."


def _studies(study_ids: Sequence[str], most: int | None) -> str:
    named = ", ".join(study_ids[:most])
    more = f" and {len(study_ids) - most} more" if most is not None and len(study_ids) > most else ""
    return f"{len(study_ids)} stud{'y' if len(study_ids) == 1 else 'ies'} ({named}{more})"


def _explanations(comparison: Comparison) -> list[str]:
    lines = [
        "Differences are over the studies that both methods have a score for; ranks over those that all have. "
        "better, worse: share of studies in which the first-named method of the title is better, worse.",
        f"95 %: bootstrap over studies, {RESAMPLES} samples. p: two-sided signed-rank test of Wilcoxon, zeros ranked "
        f"and left out of the sum (Pratt); p Holm: corrected for all tests here ({comparison.tests}).",
        "held: share of the samples in which the method has this rank; ranks: where 95 % of the samples put it; tau: "
        "mean Kendall's tau between the ranking and those of the samples, 1 if it never changes.",
    ]
    if OVERALL in comparison.labels:
        lines.append(f"{OVERALL}: each study's mean over the labels for which all compared methods have a score.")
    return lines


def _rich_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=escape(title),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for heading in headings:
        table.add_column(
            escape(heading),
            justify="left" if heading in _TEXT else "right",
            no_wrap=heading not in _TEXT,  # names may be long and wrap; numbers are never cut
            overflow="fold",
            style="bold" if heading == "mean [95 %]" else "",
        )
    for number, row in enumerate(rows):
        last = number + 1 == len(rows) or (headings is _RANK_HEADINGS and rows[number + 1][0] != "")
        table.add_row(*(escape(cell) for cell in row), end_section=last)
    return table


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rules = ["---" if heading in _TEXT else "---:" for heading in headings]
    lines = ["| " + " | ".join(headings) + " |", "|" + "|".join(rules) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(_escape(cell) for cell in row) + " |" for row in rows)])


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def _decimals(metric: str) -> int:
    return 2 if metric.endswith(("_mm", "_ml", "_lesions")) else 3


def _with_interval(mean: float, low: float, high: float, form: str) -> str:
    if math.isnan(low):
        return _number(mean, form)
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else f"{value:{form}}"


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.0f} %"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else _number(value, ".3f")


def _plain_pair(paired: Paired) -> dict[str, Any]:
    names = ("missing_first", "missing_second", "undefined_first", "undefined_second", "undefined_both")
    return {
        "label": paired.label,
        "first": paired.first,
        "second": paired.second,
        "n": paired.n,
        "mean_difference": paired.mean,
        "low": paired.low,
        "high": paired.high,
        "median_difference": paired.median,
        "second_better": paired.better,
        "second_worse": paired.worse,
        "share_better": paired.share_better,
        "p": paired.p,
        "p_holm": paired.p_holm,
        "smallest_p": paired.smallest_p if paired.n else math.nan,
        **{name: len(getattr(paired, name)) for name in names},
    }


def _plain_standing(ranking: Ranking, standing: Standing) -> dict[str, Any]:
    return {
        "label": ranking.label,
        "method": standing.method,
        "rank": standing.rank,
        "n": len(ranking.studies),
        "mean": standing.mean,
        "low": standing.low,
        "high": standing.high,
        **{f"share_rank_{rank}": share for rank, share in enumerate(standing.shares, start=1)},
        "tau": ranking.tau,
        "tau_low": ranking.tau_low,
        "tau_high": ranking.tau_high,
    }


def _plain_studies(paired: Paired) -> Iterator[dict[str, Any]]:
    known = {"label": paired.label, "first": paired.first, "second": paired.second}
    scores = zip(paired.studies, paired.first_scores, paired.second_scores, paired.differences, strict=True)
    for study_id, first, second, difference in scores:
        numbers = {"first_score": first, "second_score": second, "difference": difference}
        yield {**known, "study_id": study_id, **numbers, "left_out": ""}
    for reason in ("missing_first", "missing_second", "undefined_first", "undefined_second", "undefined_both"):
        for study_id in getattr(paired, reason):
            numbers = {"first_score": math.nan, "second_score": math.nan, "difference": math.nan}
            yield {**known, "study_id": study_id, **numbers, "left_out": reason}


def _write_json(comparison: Comparison, path: Path) -> Path:
    document = {
        "metric": comparison.metric,
        "direction": comparison.direction,
        "methods": [
            {"name": method.method, "scored": len(method.scored), "failed": method.failed, "missing": method.missing}
            for method in comparison.coverage
        ],
        "labels": comparison.labels,
        "tests": comparison.tests,
        "resamples": RESAMPLES,
        "pairs": [
            without_nan({**_plain_pair(paired), "studies": [without_nan(row) for row in _of_study(paired)]})
            for paired in comparison.paired
        ],
        "rankings": [
            without_nan(
                {
                    "label": ranking.label,
                    "studies": ranking.studies,
                    "left_out": ranking.left_out,
                    "tau": ranking.tau,
                    "tau_low": ranking.tau_low,
                    "tau_high": ranking.tau_high,
                    "standings": [_standing(standing) for standing in ranking.standings],
                }
            )
            for ranking in comparison.rankings
        ],
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def _of_study(paired: Paired) -> Iterator[dict[str, Any]]:
    above = ("label", "first", "second")
    return ({key: value for key, value in row.items() if key not in above} for row in _plain_studies(paired))


def _standing(standing: Standing) -> dict[str, Any]:
    numbers = {"method": standing.method, "rank": standing.rank, "mean": standing.mean, "low": standing.low}
    plain: dict[str, Any] = without_nan({**numbers, "high": standing.high, "shares": standing.shares})
    return plain
