import math

import numpy as np
import pytest

from medseg.evaluation.bootstrap import mean_interval
from medseg.evaluation.spread import Spread


def test_spread_is_worked_out_over_the_defined_values():
    found = Spread.of({"a": 0.2, "b": math.nan, "c": 0.6, "d": 0.7})
    assert (found.n, found.mean, found.median, found.min, found.max) == (3, pytest.approx(0.5), 0.6, 0.2, 0.7)
    assert (found.q1, found.q3) == (pytest.approx(0.4), pytest.approx(0.65))
    assert found.sd == pytest.approx(math.sqrt((0.09 + 0.01 + 0.04) / 2))
    assert (found.worst, found.worst_value) == ("a", 0.2)


def test_one_study_has_no_standard_deviation_and_none_has_no_number_at_all():
    one = Spread.of({"a": 0.2})
    assert (one.n, one.mean, one.q1, one.q3) == (1, 0.2, 0.2, 0.2)
    assert all(math.isnan(value) for value in (one.sd, one.low, one.high))
    nothing = Spread.of({"a": math.nan})
    assert (nothing.n, nothing.worst) == (0, "")
    assert all(math.isnan(value) for value in (nothing.mean, nothing.median, nothing.q1, nothing.low, nothing.min))


@pytest.mark.parametrize(
    ("worst", "study", "value"), [("lowest", "a", -3), ("highest", "c", 2), ("farthest", "a", -3), ("", "", math.nan)]
)
def test_the_worst_study_follows_the_direction_of_the_score(worst, study, value):
    found = Spread.of({"a": -3.0, "b": 1.0, "c": 2.0}, worst)
    assert found.worst == study
    np.testing.assert_equal(found.worst_value, value)


@pytest.mark.parametrize("worst", ["lowest", "highest", "farthest"])
def test_the_first_of_equally_bad_studies_is_the_worst(worst):
    assert Spread.of({"b": 0.1, "a": 0.1}, worst).worst == "b"


def test_the_interval_is_the_bootstraps_and_does_not_hang_on_the_order_of_the_studies():
    values = dict(zip("abcdefgh", np.random.default_rng(2).random(8), strict=True))
    found, backwards = Spread.of(values), Spread.of(dict(reversed(values.items())))
    assert (found.low, found.high) == (backwards.low, backwards.high) == mean_interval(sorted(values.values()))
    assert found.low < found.mean < found.high
