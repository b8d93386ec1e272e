"""How one score lies over the studies: mean with its interval, sd, quartiles, and where it is worst."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medseg.evaluation.bootstrap import mean_interval

Worst = Literal["lowest", "highest", "farthest", ""]
"""Which value of a score is the worst. The farthest is farthest from 0; "" is a quantity that is not good or bad."""


@dataclass(frozen=True)
class Spread:
    """One score over the studies in which it is defined; NaN, and no worst study, if there is none.

    Attributes:
        n: studies that count.
        mean: arithmetic mean.
        sd: sample standard deviation (n - 1 below the line); NaN for a single study.
        median: middle value.
        min: lowest value.
        max: highest value.
        worst: study_id of the worst value, the first of equals; "" for a quantity that is not good or bad.
        q1: first quartile (linear between values, as numpy's).
        q3: third quartile.
        low: lower end of the mean's 95 % interval: percentile bootstrap over studies; NaN for a single study.
        high: upper end.
        worst_value: the value of ``worst``; NaN without one.
    """

    n: int
    mean: float
    sd: float
    median: float
    min: float
    max: float
    worst: str
    q1: float = math.nan
    q3: float = math.nan
    low: float = math.nan
    high: float = math.nan
    worst_value: float = math.nan

    @classmethod
    def of(cls, values: Mapping[str, float], worst: Worst = "lowest") -> Spread:
        """Spread of study_id -> value; NaN values are left out. Equal values give equal numbers, in any order."""
        defined = {study_id: value for study_id, value in values.items() if not math.isnan(value)}
        if not defined:
            return cls(0, math.nan, math.nan, math.nan, math.nan, math.nan, "")
        array = np.array(list(defined.values()), dtype=np.float64)
        low, high = mean_interval(np.sort(array))  # sorted: the order of the studies changes nothing
        q1, median, q3 = np.percentile(array, (25, 50, 75))
        worst_study = _worst(defined, worst)
        return cls(
            n=array.size,
            mean=float(array.mean()),
            sd=float(array.std(ddof=1)) if array.size > 1 else math.nan,
            median=float(median),
            min=float(array.min()),
            max=float(array.max()),
            worst=worst_study,
            q1=float(q1),
            q3=float(q3),
            low=low,
            high=high,
            worst_value=defined.get(worst_study, math.nan),
        )


def _worst(values: Mapping[str, float], worst: Worst) -> str:
    match worst:
        case "lowest":
            return min(values, key=lambda study_id: values[study_id])
        case "highest":
            return max(values, key=lambda study_id: values[study_id])
        case "farthest":
            return max(values, key=lambda study_id: abs(values[study_id]))
        case "":
            return ""
