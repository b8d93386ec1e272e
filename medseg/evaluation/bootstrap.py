"""Studies drawn again with replacement: how sure a mean over studies is.

Everything is deterministic: all draws come from one fixed seed, so the same scores always give the same numbers.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

RESAMPLES = 5000
"""Bootstrap samples: the ends of a 95 % interval are then their 125th values from below and above."""

SEED = 20210127
"""Of the bootstrap."""


def mean_interval(values: ArrayLike) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean (Efron 1979, doi:10.1214/aos/1176344552); NaN for fewer than 2.

    Of few studies it is too narrow: below about 20 take it as a hint.

    Args:
        values: (n,) without NaN.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size < 2:
        return math.nan, math.nan
    low, high = np.percentile(resampled_means(array[None])[:, 0], (2.5, 97.5))
    return float(low), float(high)


def resampled_means(values: Floats) -> Floats:
    """Means of bootstrap samples of studies, the same studies for every method.

    Args:
        values: (methods, n) with n > 0.

    Returns:
        (RESAMPLES, methods).
    """
    return np.asarray(_weights(values.shape[1]) @ values.T)


@lru_cache(maxsize=2)  # label after label has the same studies, all of them or those in which it is defined
def _weights(n: int) -> Floats:
    """(RESAMPLES, n): how often each bootstrap sample holds each study, by n."""
    return np.asarray(np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n)
