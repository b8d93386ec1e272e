"""The arithmetic of a comparison: a paired test, its correction, and ranks under resampling (``bootstrap``)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]

DECIMALS = 12
"""Numbers that agree to so many decimals are equal: 0.9 - 0.8 and 0.4 - 0.3 are tied, as they are on paper."""

_EXACT_UP_TO = 200
"""Differences other than zero up to which every assignment of signs is counted; above, the normal curve serves."""


def wilcoxon_p(differences: ArrayLike) -> float:
    """Two-sided p of Wilcoxon's signed-rank test for paired differences.

    Zeros are treated as Pratt did (1959): they take part in the ranking, then leave the sum. Studies in which both
    methods agree then keep the small differences from counting as if they were the smallest there could be; without
    zeros this is Wilcoxon's own test. Ties share the mean of their ranks. With up to 200 differences that are not zero
    p is exact given the ranks, ties or not, where ``scipy.stats.wilcoxon`` is so only without ties and zeros or for 13
    differences at most. Above, it is the normal approximation with corrections for ties and continuity, as in scipy.

    Args:
        differences: (n,) without NaN.

    Returns:
        p in (0, 1]; 1 if all differences are zero, NaN without any.
    """
    rounded = np.round(np.asarray(differences, dtype=np.float64), DECIMALS)
    if not rounded.size:
        return math.nan
    nonzero = rounded != 0
    if not nonzero.any():
        return 1.0
    doubled = np.rint(2 * rankdata(np.abs(rounded)))[nonzero].astype(np.int64)  # whole numbers: ties end in .5
    positive = int(doubled[rounded[nonzero] > 0].sum())
    return _exact_p(doubled, positive) if doubled.size <= _EXACT_UP_TO else _normal_p(doubled, positive)


def smallest_p(n: int) -> float:
    """The smallest two-sided p that ``n`` differences other than zero can give: all of one sign, 2 / 2^n."""
    return min(1.0, 2.0 ** (1 - n))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for being several (Holm 1979); NaN stays NaN and counts as no test.

    The smallest of m is multiplied by m, the next by m - 1 and so on; none ends above 1 or below one that was smaller.
    """
    corrected = [math.nan] * len(p_values)
    tested = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    largest = 0.0
    for position, (p, index) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - position)))
        corrected[index] = largest
    return corrected


def ranks(means: Floats, *, larger_is_better: bool) -> NDArray[np.int64]:
    """Rank 1 for the best of each row; equals share the better rank, as in challengeR.

    Args:
        means: (..., methods).
        larger_is_better: else the smallest gets rank 1.
    """
    rounded = np.round(means, DECIMALS)
    return np.asarray(rankdata(-rounded if larger_is_better else rounded, method="min", axis=-1), dtype=np.int64)


def kendall_tau(resampled: NDArray[np.int64], full: NDArray[np.int64]) -> Floats:
    """Kendall's tau-b between each resampled ranking and the full one: 1 for the same order, -1 for the reverse.

    Args:
        resampled: (rows, methods).
        full: (methods,).

    Returns:
        (rows,); NaN where all methods are tied in either.
    """
    first, second = np.triu_indices(full.size, k=1)
    order = np.sign(full[first] - full[second])
    orders = np.sign(resampled[:, first] - resampled[:, second])
    size = np.sqrt(np.count_nonzero(orders, axis=1) * np.count_nonzero(order))
    taus = np.full(len(resampled), np.nan)
    np.divide(orders @ order, size, out=taus, where=size > 0)
    return taus


def _exact_p(doubled_ranks: NDArray[np.int64], positive: int) -> float:
    """Share of all assignments of signs whose sum of positive ranks is at least as far from the middle."""
    total = int(doubled_ranks.sum())
    chances = np.zeros(total + 1)
    chances[0] = 1.0
    reach = 0
    for rank in doubled_ranks:  # each rank is positive or negative, half the time each
        half = chances[: reach + 1] / 2
        chances[: reach + 1] = half
        chances[rank : reach + rank + 1] += half
        reach += int(rank)
    return float(min(1.0, 2 * chances[: min(positive, total - positive) + 1].sum()))


def _normal_p(doubled_ranks: NDArray[np.int64], positive: int) -> float:
    """The same from the normal curve: each sign is a fair coin, so the variance is the sum of the squares over 4."""
    away = max(0.0, abs(positive - doubled_ranks.sum() / 2) - 1)  # half a rank for continuity: 1, doubled
    return math.erfc(away / math.sqrt(float(np.square(doubled_ranks).sum()) / 4) / math.sqrt(2))
