"""Methods against each other, study by study: paired differences, whether they could be chance, and stable ranks.

    Evaluation a method -> compare_evaluations -> Comparison(paired, rankings, coverage) -> reports.comparison

Scores are paired by study and label. What has no partner is not compared, but named: a study that only one side has,
and one in which a score is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np

from medseg.errors import ConfigError, StudyError
from medseg.evaluation.bootstrap import mean_interval
from medseg.evaluation.ranking import Ranking, rank_methods
from medseg.evaluation.results import Evaluation
from medseg.evaluation.scores import Score
from medseg.evaluation.statistics import DECIMALS, holm, smallest_p, wilcoxon_p
from medseg.metrics.overlap import mean_defined

Direction = Literal["larger", "smaller"]

DIRECTIONS: Mapping[str, Direction] = {
    "dice": "larger",
    "iou": "larger",
    "precision": "larger",
    "recall": "larger",
    "specificity": "larger",
    "nsd": "larger",
    "lesion_f1": "larger",
    "lesion_sensitivity": "larger",
    "lesion_precision": "larger",
    "lesion_dice": "larger",
    "hd_mm": "smaller",
    "hd95_mm": "smaller",
    "assd_mm": "smaller",
    "absolute_volume_difference_ml": "smaller",
    "ravd": "smaller",
    "false_positive_lesions": "smaller",
}
"""Which end of a score is the better one. What has no better end, such as a volume, is not compared."""

OVERALL = "all labels"
"""Stands for a study's mean over its labels."""

Scores = Mapping[str, Mapping[str, float]]
"""Label -> study_id -> score of one method, or method -> study_id -> score of one label; NaN where it is undefined."""


@dataclass(frozen=True)
class Paired:
    """Two methods on one label, over the studies in which both have a score. Differences are second - first.

    Attributes:
        label: the class's name, or ``OVERALL``.
        first: name of a method.
        second: name of the other.
        studies: study_ids of the pairs, in the order of the first method.
        first_scores: one a pair.
        second_scores: one a pair.
        direction: which end of the score is the better one.
        missing_first: study_ids with this label that only the second method has.
        missing_second: study_ids with this label that only the first method has.
        undefined_first: both have the study, the first method's score alone is NaN.
        undefined_second: the same of the second.
        undefined_both: both scores are NaN; for ``OVERALL``, no label has both scores.
        mean: mean difference; this and the following are NaN without a pair.
        low: lower end of its 95 % bootstrap interval; NaN for fewer than 2 pairs.
        high: upper end.
        median: median difference.
        p: two-sided, of Wilcoxon's signed-rank test; see ``statistics.wilcoxon_p``.
        p_holm: the same, corrected for all tests of the comparison.
    """

    label: str
    first: str
    second: str
    studies: tuple[str, ...]
    first_scores: tuple[float, ...]
    second_scores: tuple[float, ...]
    direction: Direction
    missing_first: tuple[str, ...]
    missing_second: tuple[str, ...]
    undefined_first: tuple[str, ...]
    undefined_second: tuple[str, ...]
    undefined_both: tuple[str, ...]
    mean: float
    low: float
    high: float
    median: float
    p: float
    p_holm: float = math.nan

    @property
    def n(self) -> int:
        """Pairs."""
        return len(self.studies)

    @property
    def differences(self) -> tuple[float, ...]:
        """Second - first, one a pair; what differs by rounding alone is 0."""
        return tuple(
            round(second - first, DECIMALS) for first, second in zip(self.first_scores, self.second_scores, strict=True)
        )

    @property
    def better(self) -> int:
        """Pairs in which the second method is better."""
        return sum(d > 0 if self.direction == "larger" else d < 0 for d in self.differences)

    @property
    def worse(self) -> int:
        """Pairs in which the first method is better."""
        return sum(d < 0 if self.direction == "larger" else d > 0 for d in self.differences)

    @property
    def share_better(self) -> float:
        """Share of the pairs in which the second method is better; NaN without a pair."""
        return self.better / self.n if self.n else math.nan

    @property
    def smallest_p(self) -> float:
        """The smallest p that so many differences other than zero can give."""
        return smallest_p(self.better + self.worse)


@dataclass(frozen=True)
class Coverage:
    """Which studies one method's evaluation has.

    Attributes:
        method: its name.
        scored: study_ids.
        failed: study_ids that its evaluation lists as failed.
        missing: study_ids that another method has and this one lacks, failed ones included.
    """

    method: str
    scored: tuple[str, ...]
    failed: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """All of it.

    Attributes:
        metric: name of the score.
        direction: which end of it is the better one.
        methods: their names, in the order given.
        labels: the labels compared; ``OVERALL`` comes last, if more than one label has pairs.
        paired: every pair of methods, label by label.
        rankings: one a label.
        coverage: one a method.
    """

    metric: str
    direction: Direction
    methods: tuple[str, ...]
    labels: tuple[str, ...]
    paired: tuple[Paired, ...]
    rankings: tuple[Ranking, ...]
    coverage: tuple[Coverage, ...]

    @property
    def tests(self) -> int:
        """How many p values Holm's correction went over."""
        return sum(not math.isnan(pair.p) for pair in self.paired)


def compare_evaluations(
    named: Mapping[str, Evaluation], metric: str = "dice", labels: Sequence[str] | None = None
) -> Comparison:
    """Compare methods that segmented the same studies.

    A pair with a NaN counts in no difference and is listed (``Paired.undefined_first`` and so on). ``OVERALL``
    averages, within each study, the labels that the compared methods all have a score for; it is one more row of the
    table, and one more test of each pair of methods in Holm's correction.

    Args:
        named: name -> evaluation, two or more; differences are later - earlier.
        metric: a score of ``evaluation.scores.Score``; those of ``DIRECTIONS`` have a better end.
        labels: compare these alone; None compares every label that some evaluation has.

    Raises:
        ConfigError: fewer than two evaluations, a score or label that they lack, or no study and label in common.
        StudyError: an evaluation without scores, with a study twice, or with a score that is no number.
    """
    if len(named) < 2:
        raise ConfigError(f"compare: expected two evaluations or more, found {', '.join(named) or 'none'}")
    tables = {name: _table(name, evaluation, metric) for name, evaluation in named.items()}
    _require_metric(named, tables, metric)
    chosen = _labels(tables, labels)
    direction = DIRECTIONS[metric]
    pairs = list(combinations(named, 2))
    comparisons = [_paired(label, first, second, tables, direction) for label in chosen for first, second in pairs]
    if not any(paired.n for paired in comparisons):
        raise ConfigError(_nothing_in_common(tables, metric))
    by_label: dict[str, Scores] = {
        label: {name: table.get(label, {}) for name, table in tables.items()} for label in chosen
    }
    if len({paired.label for paired in comparisons if paired.n}) > 1:
        comparisons += [_paired_overall(first, second, tables, chosen, direction) for first, second in pairs]
        by_label[OVERALL] = _means_over_labels(tables, chosen)
    corrected = holm([paired.p for paired in comparisons])
    return Comparison(
        metric=metric,
        direction=direction,
        methods=tuple(named),
        labels=tuple(by_label),
        paired=tuple(replace(paired, p_holm=p) for paired, p in zip(comparisons, corrected, strict=True)),
        rankings=tuple(rank_methods(n, t, larger_is_better=direction == "larger") for n, t in by_label.items()),
        coverage=_coverage(named),
    )


def _table(name: str, evaluation: Evaluation, metric: str) -> Scores:
    if not evaluation.scores:
        failed = f" ({len(evaluation.failures)} failed)" if evaluation.failures else ""
        raise StudyError(f"{name}: expected scores to compare, found none{failed}")
    table: dict[str, dict[str, float]] = {}
    for study in evaluation.scores:
        for row in study.rows:
            scores = table.setdefault(row.label, {})
            if study.study_id in scores:
                raise StudyError(
                    f"{name}: expected each study and label once, found {study.study_id}, {row.label} twice"
                )
            scores[study.study_id] = _number(name, row, metric)
    if OVERALL in table:
        raise StudyError(f"{name}: the label {OVERALL!r} cannot be compared: the name stands for the mean over labels")
    return table


def _number(name: str, row: Score, metric: str) -> float:
    value = getattr(row, metric, None)
    if value is None:  # not scored
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        if metric in DIRECTIONS:
            raise StudyError(
                f"{name}: study {row.study_id}, {row.label}: expected a number for {metric}, found {value!r}"
            )
        return math.nan
    return float(value) if math.isfinite(value) else math.nan


def _require_metric(named: Mapping[str, Evaluation], tables: Mapping[str, Scores], metric: str) -> None:
    lacking = [name for name, table in tables.items() if not any(_defined(scores) for scores in table.values())]
    if metric in DIRECTIONS and not lacking:
        return
    there = [known for known in DIRECTIONS if all(_has(evaluation, known) for evaluation in named.values())]
    known = f"found those with a better end in every evaluation: {', '.join(there) or 'none'}"
    if lacking:
        raise ConfigError(f"compare: no study of {', '.join(lacking)} has a {metric!r}; {known}")
    raise ConfigError(f"compare: {metric!r} has no better end to compare by; {known}")


def _has(evaluation: Evaluation, metric: str) -> bool:
    values: Iterable[Any] = (getattr(row, metric, None) for study in evaluation.scores for row in study.rows)
    return any(isinstance(value, int | float) and math.isfinite(value) for value in values)


def _labels(tables: Mapping[str, Scores], wanted: Sequence[str] | None) -> tuple[str, ...]:
    there = tuple(dict.fromkeys(label for table in tables.values() for label in table))
    if wanted is None:
        return there
    unknown = [label for label in wanted if label not in there]
    if unknown or not wanted:
        raise ConfigError(f"compare: expected labels among {', '.join(there)}, found {', '.join(unknown) or 'none'}")
    return tuple(dict.fromkeys(wanted))


def _nothing_in_common(tables: Mapping[str, Scores], metric: str) -> str:
    examples = []
    for name, table in tables.items():
        label = next(iter(table))
        examples.append(f"{next(iter(table[label]))}, {label} ({name})")
    return (
        f"compare: expected a {metric} of the same study and label in two evaluations, found no pair at all; "
        f"for example {'; '.join(examples)}"
    )


def _defined(scores: Mapping[str, float]) -> list[str]:
    return [study_id for study_id, value in scores.items() if not math.isnan(value)]


def _paired(label: str, first: str, second: str, tables: Mapping[str, Scores], direction: Direction) -> Paired:
    a, b = (tables[name].get(label, {}) for name in (first, second))
    both = [study_id for study_id in a if study_id in b]
    pairs = {s: (a[s], b[s]) for s in both if not (math.isnan(a[s]) or math.isnan(b[s]))}
    return _with_numbers(
        pairs,
        label=label,
        first=first,
        second=second,
        direction=direction,
        missing_first=tuple(study_id for study_id in b if study_id not in a),
        missing_second=tuple(study_id for study_id in a if study_id not in b),
        undefined_first=tuple(s for s in both if math.isnan(a[s]) and not math.isnan(b[s])),
        undefined_second=tuple(s for s in both if math.isnan(b[s]) and not math.isnan(a[s])),
        undefined_both=tuple(s for s in both if math.isnan(a[s]) and math.isnan(b[s])),
    )


def _paired_overall(
    first: str, second: str, tables: Mapping[str, Scores], labels: Sequence[str], direction: Direction
) -> Paired:
    means = _means_over_labels({name: tables[name] for name in (first, second)}, labels)
    return _paired(OVERALL, first, second, {name: {OVERALL: means[name]} for name in means}, direction)


def _with_numbers(pairs: Mapping[str, tuple[float, float]], **known: Any) -> Paired:
    first_scores, second_scores = tuple(a for a, _ in pairs.values()), tuple(b for _, b in pairs.values())
    differences = np.round(np.subtract(second_scores, first_scores), DECIMALS)
    low, high = mean_interval(differences)
    return Paired(
        studies=tuple(pairs),
        first_scores=first_scores,
        second_scores=second_scores,
        mean=mean_defined(differences),
        low=low,
        high=high,
        median=float(np.median(differences)) if pairs else math.nan,
        p=wilcoxon_p(differences),
        **known,
    )


def _means_over_labels(tables: Mapping[str, Scores], labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Method -> study_id -> mean over the labels that all methods which have the study can score; NaN without one."""
    means: dict[str, dict[str, float]] = {name: {} for name in tables}
    studies = {name: _studies(table, labels) for name, table in tables.items()}
    for name, table in tables.items():
        for study_id in studies[name]:
            sides = [tables[other] for other in tables if study_id in studies[other]]
            scores = {label: [side.get(label, {}).get(study_id, math.nan) for side in sides] for label in labels}
            shared = [label for label, values in scores.items() if not any(math.isnan(value) for value in values)]
            means[name][study_id] = mean_defined(table[label][study_id] for label in shared)
    return means


def _studies(table: Scores, labels: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(study_id for label in labels for study_id in table.get(label, {})))


def _coverage(named: Mapping[str, Evaluation]) -> tuple[Coverage, ...]:
    scored = {name: tuple(study.study_id for study in evaluation.scores) for name, evaluation in named.items()}
    everyone = list(dict.fromkeys(study_id for studies in scored.values() for study_id in studies))
    return tuple(
        Coverage(
            name,
            scored[name],
            tuple(failure.study_id for failure in evaluation.failures),
            tuple(study_id for study_id in everyone if study_id not in set(scored[name])),
        )
        for name, evaluation in named.items()
    )
