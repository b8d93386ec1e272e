"""Methods ranked by their mean score, and whether the ranks would hold on other studies.

As challengeR tells it (Wiesenfarth et al. 2021, doi:10.1038/s41598-021-82017-6): the studies are drawn again with
replacement, the same for every method, and the methods ranked by their means each time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medseg.evaluation.bootstrap import mean_interval, resampled_means
from medseg.evaluation.statistics import kendall_tau, ranks


@dataclass(frozen=True)
class Standing:
    """One method in a ranking.

    Attributes:
        method: its name.
        scores: one a study of the ranking.
        mean: what the ranking goes by.
        low: lower end of the mean's 95 % bootstrap interval; NaN for fewer than 2 studies.
        high: upper end.
        rank: 1 is best; equals share the better rank.
        shares: how often resampling gave rank 1, 2, ... (0 to 1, one a method); NaN for fewer than 2 studies.
    """

    method: str
    scores: tuple[float, ...]
    mean: float
    low: float
    high: float
    rank: int
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Ranking:
    """The methods by their mean score of one label, over the studies in which all of them have a score.

    Attributes:
        label: the class's name, or ``comparison.OVERALL``.
        studies: study_ids that count.
        left_out: study_ids with this label in which some method lacks a score.
        standings: the best first; empty without a study that counts.
        tau: mean of Kendall's tau between the ranking and those of the resampled studies: 1 if they never differ.
            NaN for fewer than 2 studies, or if all methods are equal.
        tau_low: value below which 2.5 % of them lie.
        tau_high: value above which 2.5 % of them lie.
    """

    label: str
    studies: tuple[str, ...]
    left_out: tuple[str, ...]
    standings: tuple[Standing, ...]
    tau: float
    tau_low: float
    tau_high: float


def rank_methods(label: str, tables: Mapping[str, Mapping[str, float]], *, larger_is_better: bool) -> Ranking:
    """Rank methods by their mean score of one label, and see how the ranks hold when the studies are resampled.

    Args:
        label: named in the ranking.
        tables: method -> study_id -> score, NaN where it is undefined. Studies that some method lacks are left out.
        larger_is_better: else the smallest mean gets rank 1.
    """
    everyone = list(dict.fromkeys(study_id for scores in tables.values() for study_id in scores))
    studies = [s for s in everyone if not any(math.isnan(scores.get(s, math.nan)) for scores in tables.values())]
    left_out = tuple(study_id for study_id in everyone if study_id not in set(studies))
    if not studies:
        return Ranking(label, (), left_out, (), math.nan, math.nan, math.nan)
    values = np.array([[scores[study_id] for study_id in studies] for scores in tables.values()])
    full = ranks(values.mean(axis=1), larger_is_better=larger_is_better)
    places = np.arange(1, len(tables) + 1)
    shares = np.full((len(tables), len(tables)), np.nan)
    tau = tau_low = tau_high = math.nan
    if len(studies) > 1:
        resampled = ranks(resampled_means(values), larger_is_better=larger_is_better)
        shares = (resampled[:, :, None] == places).mean(axis=0)
        taus = kendall_tau(resampled, full)
        taus = taus[~np.isnan(taus)]
        if taus.size:
            tau, (tau_low, tau_high) = float(taus.mean()), map(float, np.percentile(taus, (2.5, 97.5)))
    standings = []
    for name, row, rank, held in zip(tables, values, full, shares, strict=True):
        low, high = mean_interval(row)
        scores = tuple(row.tolist())
        standings.append(Standing(name, scores, float(row.mean()), low, high, int(rank), tuple(held.tolist())))
    ordered = tuple(sorted(standings, key=lambda standing: standing.rank))
    return Ranking(label, tuple(studies), left_out, ordered, tau, tau_low, tau_high)
