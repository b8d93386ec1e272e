import math

import pytest

from medseg.evaluation.ranking import rank_methods


def table(*scores: float) -> dict[str, float]:
    return dict(zip("abcdefgh", scores, strict=False))


def test_the_best_mean_comes_first():
    ranking = rank_methods("liver", {"x": table(0.1, 0.3), "y": table(0.4, 0.6)}, larger_is_better=True)
    first, second = ranking.standings
    assert (first.method, first.rank, first.mean, first.scores) == ("y", 1, pytest.approx(0.5), (0.4, 0.6))
    assert (second.method, second.rank, second.mean) == ("x", 2, pytest.approx(0.2))
    assert (ranking.label, ranking.studies, ranking.left_out) == ("liver", ("a", "b"), ())


def test_a_method_that_is_better_everywhere_holds_its_rank_in_every_sample():
    tables = {"x": table(9, 5, 7), "y": table(8, 4, 6), "z": table(7, 3, 5)}
    ranking = rank_methods("liver", tables, larger_is_better=False)
    assert [s.method for s in ranking.standings] == ["z", "y", "x"]
    assert [s.shares for s in ranking.standings] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert (ranking.tau, ranking.tau_low, ranking.tau_high) == (1, 1, 1)


def test_shares_and_tau_of_two_studies_by_hand():
    # samples: aa (1/4): x 1, y 0; bb (1/4): x 0, y 0.5; ab (1/2): x 0.5, y 0.25. So x leads in 3 of 4
    ranking = rank_methods("liver", {"x": table(1.0, 0.0), "y": table(0.0, 0.5)}, larger_is_better=True)
    first, second = ranking.standings
    assert (first.method, first.rank) == ("x", 1)
    assert first.shares == pytest.approx((0.75, 0.25), abs=0.02)
    assert second.shares == pytest.approx((0.25, 0.75), abs=0.02)
    assert ranking.tau == pytest.approx(0.75 - 0.25, abs=0.04)
    assert (ranking.tau_low, ranking.tau_high) == (-1, 1)
    assert sum(first.shares) == pytest.approx(1)


def test_samples_in_which_methods_are_equal_give_both_the_better_rank():
    # aa: equal; bb and ab: x leads
    ranking = rank_methods("liver", {"x": table(1.0, 1.0), "y": table(1.0, 0.0)}, larger_is_better=True)
    assert ranking.standings[0].shares == (1, 0)
    assert ranking.standings[1].shares == pytest.approx((0.25, 0.75), abs=0.02)
    assert ranking.tau == 1  # a sample without an order has no tau


def test_only_studies_of_all_methods_count():
    tables = {"x": {"a": 0.5, "b": 0.6, "c": math.nan}, "y": {"c": 0.7, "a": 0.6, "d": 0.1}}
    ranking = rank_methods("liver", tables, larger_is_better=True)
    assert (ranking.studies, ranking.left_out) == (("a",), ("b", "c", "d"))


def test_without_a_common_study_there_is_no_ranking():
    ranking = rank_methods("liver", {"x": {"a": 0.5}, "y": {"b": 0.5}}, larger_is_better=True)
    assert (ranking.standings, ranking.studies, ranking.left_out) == ((), (), ("a", "b"))
    assert math.isnan(ranking.tau)
