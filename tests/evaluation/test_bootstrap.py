import math

import numpy as np
import pytest

from medseg.evaluation.bootstrap import RESAMPLES, mean_interval, resampled_means


def test_the_interval_of_a_constant_is_the_constant():
    assert mean_interval([0.25] * 7) == pytest.approx((0.25, 0.25))


def test_the_interval_of_two_values_reaches_from_one_to_the_other():
    # a sample holds the same value twice in 1 of 4 cases each, far more than the 2.5 % at either end
    assert mean_interval([0.0, 1.0]) == pytest.approx((0, 1))


def test_the_interval_is_near_the_normal_one_and_always_the_same():
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = mean_interval(values)
    half = 1.96 * values.std() / math.sqrt(400)
    assert (low, high) == (pytest.approx(values.mean() - half, abs=0.03), pytest.approx(values.mean() + half, abs=0.03))
    mean_interval([1.0, 2.0])
    assert mean_interval(values) == (low, high)


def test_fewer_than_two_values_have_no_interval():
    assert all(math.isnan(end) for values in ([], [0.5]) for end in mean_interval(values))


def test_methods_are_resampled_on_the_same_studies():
    means = resampled_means(np.array([[0.1, 0.5, 0.9], [0.2, 0.6, 1.0]]))
    assert means.shape == (RESAMPLES, 2)
    np.testing.assert_allclose(means[:, 1] - means[:, 0], 0.1)
