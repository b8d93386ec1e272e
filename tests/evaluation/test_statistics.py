import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import PermutationMethod, kendalltau, rankdata, wilcoxon

from medseg.evaluation.statistics import (
    holm,
    kendall_tau,
    ranks,
    smallest_p,
    wilcoxon_p,
)


def counted_p(differences: list[float]) -> float:
    """Every assignment of signs by itself, as the test is defined."""
    array = np.array(differences)
    given = rankdata(np.abs(array))[array != 0]
    signs = np.array(list(product((0, 1), repeat=given.size)))
    sums = signs @ given
    observed = given[array[array != 0] > 0].sum()
    middle = given.sum() / 2
    return float(np.mean(np.abs(sums - middle) >= abs(observed - middle) - 1e-9))


def test_wilcoxon_by_hand():
    # ranks 1 2 3 4 5, the second one negative: sums of positive ranks <= 2 are {}, {1}, {2}: 3 of 32, two-sided 6 of 32
    assert wilcoxon_p([0.1, -0.2, 0.3, 0.4, 0.5]) == pytest.approx(6 / 32)
    assert wilcoxon_p([1, 2, 3, 4, 5]) == pytest.approx(2 / 32)
    assert wilcoxon_p([1, -1]) == 1


def test_zeros_keep_the_lowest_ranks_and_leave_the_sum():
    # |d| 0 1 2 3 has ranks 1 2 3 4; without the zero 2 3 4, where only {} is as small as the negative side: 2 of 8
    assert wilcoxon_p([0, 1, 2, 3]) == pytest.approx(2 / 8)
    # -1 has rank 3 behind two zeros, 2 and 3 have 4 and 5: the sums <= 3 are {} and {3}
    assert wilcoxon_p([0, 0, -1, 2, 3]) == pytest.approx(4 / 8)


@pytest.mark.parametrize("seed", range(5))
def test_ties_and_zeros_are_counted_out(seed):
    differences = np.random.default_rng(seed).integers(-2, 5, 11).astype(float)
    exact = wilcoxon(differences, zero_method="pratt", method=PermutationMethod(n_resamples=np.inf)).pvalue
    assert wilcoxon_p(differences) == pytest.approx(counted_p(list(differences)))
    assert wilcoxon_p(differences) == pytest.approx(exact)


@pytest.mark.parametrize("n", [3, 25, 60, 200])
def test_without_ties_it_is_scipy_s_exact_test(n):
    differences = np.random.default_rng(n).normal(0.2, 1, n)
    assert wilcoxon_p(differences) == pytest.approx(wilcoxon(differences, method="exact").pvalue)


def test_many_differences_go_by_the_normal_curve_with_ties_zeros_and_continuity():
    differences = np.random.default_rng(0).integers(-6, 8, 400).astype(float)
    expected = wilcoxon(differences, zero_method="pratt", correction=True, method="asymptotic").pvalue
    assert wilcoxon_p(differences) == pytest.approx(expected)


def test_no_difference_at_all_gives_p_1_and_no_study_none():
    assert wilcoxon_p([0.0, 0.0, 0.0]) == 1
    assert math.isnan(wilcoxon_p([]))


def test_rounding_makes_no_difference():
    # on paper all three are 0.1, tied at rank 2; in floating point they are 0.0999..., 0.1000...1 and 0.1
    assert wilcoxon_p([0.9 - 0.8, -(0.4 - 0.3), 0.1]) == wilcoxon_p([1, -1, 1]) == 1
    assert wilcoxon_p([0.1 + 0.2 - 0.3] * 4) == 1


@pytest.mark.parametrize(("n", "p"), [(0, 1), (1, 1), (2, 0.5), (5, 0.0625), (6, 0.03125)])
def test_the_smallest_p_needs_all_signs_alike(n, p):
    assert smallest_p(n) == p
    if n:
        assert wilcoxon_p(range(1, n + 1)) == p


def test_holm_by_hand():
    # sorted 0.01 0.02 0.03 0.04, times 4 3 2 1: 0.04 0.06 0.06 0.04, and none below one that was smaller
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.4, 0.6]) == pytest.approx([0.8, 0.8])
    assert holm([0.7, 0.9]) == [1, 1]
    assert holm([]) == []


def test_holm_counts_nan_as_no_test():
    corrected = holm([0.02, math.nan, 0.03])
    assert corrected[0] == pytest.approx(0.04)
    assert math.isnan(corrected[1])
    assert corrected[2] == pytest.approx(0.04)


def test_equals_share_the_better_rank():
    means = np.array([0.9, 0.7, 0.9, 0.8])
    assert ranks(means, larger_is_better=True).tolist() == [1, 4, 1, 3]
    assert ranks(means, larger_is_better=False).tolist() == [3, 1, 3, 2]
    assert ranks(np.array([0.1 + 0.2, 0.3]), larger_is_better=True).tolist() == [1, 1]


def test_tau_by_hand():
    # 1 2 3 against 1 3 2: two of three pairs agree, one does not
    resampled = np.array([[1, 2, 3], [1, 3, 2], [3, 2, 1], [1, 1, 1]])
    taus = kendall_tau(resampled, np.array([1, 2, 3]))
    assert taus[:3] == pytest.approx([1, 1 / 3, -1])
    assert math.isnan(taus[3])


def test_tau_is_scipy_s_with_ties():
    resampled = np.random.default_rng(0).integers(1, 4, (20, 5))
    full = np.array([1, 2, 2, 4, 5])
    expected = [kendalltau(row, full).statistic for row in resampled]
    np.testing.assert_allclose(kendall_tau(resampled, full), expected)
