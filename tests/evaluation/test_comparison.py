import math

import pytest

from medseg.errors import ConfigError, StudyError
from medseg.evaluation.bootstrap import mean_interval
from medseg.evaluation.comparison import DIRECTIONS, OVERALL, compare_evaluations
from medseg.evaluation.results import Evaluation, Failure
from tests.evaluation.compared import evaluation, of_liver

NAN = math.nan


def test_differences_are_second_minus_first_study_by_study():
    old = of_liver(0.5, 0.6, 0.7, 0.8, 0.9)
    new = of_liver(0.6, 0.4, 1.0, 0.8, 0.94)  # +0.1 -0.2 +0.3 0 +0.04
    (paired,) = compare_evaluations({"old": old, "new": new}).paired
    assert (paired.label, paired.first, paired.second) == ("liver", "old", "new")
    assert paired.studies == ("a", "b", "c", "d", "e")
    assert paired.differences == pytest.approx((0.1, -0.2, 0.3, 0, 0.04))
    assert (paired.n, paired.better, paired.worse) == (5, 3, 1)
    assert paired.share_better == pytest.approx(3 / 5)
    assert paired.mean == pytest.approx(0.24 / 5)
    assert paired.median == pytest.approx(0.04)
    assert (paired.low, paired.high) == mean_interval([0.1, -0.2, 0.3, 0, 0.04])
    # |d| 0 .04 .1 .2 .3 has ranks 1 to 5; the negative one is 4, and of {2 3 4 5} the sums <= 4 are {} {2} {3} {4}
    assert paired.p == paired.p_holm == pytest.approx(2 * 4 / 16)


def test_studies_are_paired_by_name_and_not_by_place():
    first = evaluation({"a": {"liver": 0.5}, "b": {"liver": 0.7}})
    second = evaluation({"b": {"liver": 0.8}, "a": {"liver": 0.9}})
    (paired,) = compare_evaluations({"first": first, "second": second}).paired
    assert dict(zip(paired.studies, paired.differences, strict=True)) == pytest.approx({"a": 0.4, "b": 0.1})


def test_a_constant_gain_has_an_interval_of_no_width():
    (paired,) = compare_evaluations({"old": of_liver(0.1, 0.4, 0.6), "new": of_liver(0.3, 0.6, 0.8)}).paired
    assert (paired.mean, paired.low, paired.high) == pytest.approx((0.2, 0.2, 0.2))


def test_the_same_scores_twice_differ_nowhere():
    comparison = compare_evaluations({"a": of_liver(0.5, 0.6, 0.7), "b": of_liver(0.5, 0.6, 0.7)})
    (paired,) = comparison.paired
    assert (paired.p, paired.p_holm, paired.mean, paired.better, paired.worse) == (1, 1, 0, 0, 0)
    assert (paired.low, paired.high) == (0, 0)
    assert [standing.rank for standing in comparison.rankings[0].standings] == [1, 1]
    assert math.isnan(comparison.rankings[0].tau)


@pytest.mark.parametrize(("score", "better"), [("dice", 2), ("iou", 2), ("nsd", 2), ("hd95_mm", 1), ("assd_mm", 1)])
def test_the_score_says_which_end_is_better(score, better):
    first, second = of_liver(2.0, 3.0, 5.0, score=score), of_liver(2.5, 4.0, 1.0, score=score)
    comparison = compare_evaluations({"first": first, "second": second}, score)
    (paired,) = comparison.paired
    assert (comparison.direction, paired.direction) == (DIRECTIONS[score],) * 2
    assert (paired.better, paired.worse) == (better, 3 - better)
    assert paired.mean == pytest.approx(-2.5 / 3)  # the difference keeps its sign
    best = "second" if DIRECTIONS[score] == "smaller" else "first"
    assert comparison.rankings[0].standings[0].method == best


def test_studies_of_one_side_are_named_and_counted_nowhere():
    first = evaluation({"a": {"liver": 0.5}, "b": {"liver": 0.6}, "c": {"liver": 0.1}})
    second = evaluation({"b": {"liver": 0.7}, "a": {"liver": 0.6}, "x": {"liver": 1.0}}, failed=("c",))
    comparison = compare_evaluations({"first": first, "second": second})
    (paired,) = comparison.paired
    assert (paired.studies, paired.missing_first, paired.missing_second) == (("a", "b"), ("x",), ("c",))
    assert paired.mean == pytest.approx(0.1)
    assert [method.missing for method in comparison.coverage] == [("x",), ("c",)]
    assert [method.failed for method in comparison.coverage] == [(), ("c",)]
    assert comparison.rankings[0].left_out == ("c", "x")


def test_a_pair_with_a_nan_is_no_difference_and_is_named():
    first = of_liver(0.5, NAN, 0.7, NAN, 0.9)
    second = of_liver(0.6, 0.6, NAN, NAN, 1.0)
    comparison = compare_evaluations({"first": first, "second": second})
    (paired,) = comparison.paired
    assert paired.studies == ("a", "e")
    assert (paired.undefined_first, paired.undefined_second, paired.undefined_both) == (("b",), ("c",), ("d",))
    assert (paired.missing_first, paired.missing_second) == ((), ())
    assert paired.mean == pytest.approx(0.1)
    assert comparison.rankings[0].studies == ("a", "e")


def test_infinity_and_none_are_no_scores():
    first = of_liver(2.0, math.inf, 3.0, score="hd95_mm")
    second = of_liver(1.0, 4.0, None, score="hd95_mm")
    (paired,) = compare_evaluations({"first": first, "second": second}, "hd95_mm").paired
    assert (paired.studies, paired.undefined_first, paired.undefined_second) == (("a",), ("b",), ("c",))


def test_one_study_has_a_difference_but_no_interval_and_no_stability():
    comparison = compare_evaluations({"old": of_liver(0.5), "new": of_liver(0.7)})
    (paired,) = comparison.paired
    assert (paired.n, paired.mean, paired.median, paired.p, paired.smallest_p) == (1, pytest.approx(0.2), 0.2, 1, 1)
    assert math.isnan(paired.low)
    (ranking,) = comparison.rankings
    assert [standing.rank for standing in ranking.standings] == [1, 2]
    assert math.isnan(ranking.tau)
    assert all(math.isnan(share) for standing in ranking.standings for share in standing.shares)


def test_few_pairs_say_the_smallest_p_that_they_can_give():
    (paired,) = compare_evaluations({"old": of_liver(0.1, 0.2, 0.3, 0.4), "new": of_liver(0.2, 0.4, 0.6, 0.4)}).paired
    assert paired.smallest_p == paired.p == pytest.approx(2 / 8)  # 3 of the 4 differ, all to one side


def test_holm_goes_over_pairs_and_labels_and_their_mean():
    # six studies; liver: new is better in all (p 2/64); tumour: the ranks 1 to 6 with 1 2 negative, sums <= 3 are
    # {} 1 2 3 12: 2 * 5/64; all labels: the means are all positive, 2/64
    gains = {"liver": (1, 2, 3, 4, 5, 6), "tumour": (-1, -2, 3, 4, 5, 6)}
    ids = "abcdef"
    old = evaluation({s: {"liver": 0.5, "tumour": 0.5} for s in ids})
    new = evaluation({s: {name: 0.5 + gains[name][i] / 100 for name in gains} for i, s in enumerate(ids)})
    comparison = compare_evaluations({"old": old, "new": new})
    liver, tumour, both = comparison.paired
    assert comparison.labels == ("liver", "tumour", OVERALL)
    assert (comparison.tests, both.label) == (3, OVERALL)
    # means: 0 0 3 4 5 6 over 100, so two zeros and four of one sign: 2/16
    assert both.differences == pytest.approx((0, 0, 0.03, 0.04, 0.05, 0.06))
    assert (liver.p, tumour.p, both.p) == pytest.approx((2 / 64, 10 / 64, 2 / 16))
    # sorted 2/64 8/64 10/64, times 3 2 1: 6/64 16/64 10/64, the last raised to 16/64
    assert (liver.p_holm, tumour.p_holm, both.p_holm) == pytest.approx((6 / 64, 16 / 64, 16 / 64))


def test_one_label_alone_is_its_own_family():
    old = evaluation({s: {"liver": 0.5, "tumour": 0.5} for s in "abc"})
    new = evaluation({s: {"liver": 0.6 + i / 10, "tumour": 0.1} for i, s in enumerate("abc")})
    comparison = compare_evaluations({"old": old, "new": new}, labels=["liver"])
    (paired,) = comparison.paired
    assert (comparison.labels, comparison.tests) == (("liver",), 1)
    assert paired.p == paired.p_holm == pytest.approx(2 / 8)


def test_all_pairs_of_methods_are_compared_in_the_order_given():
    comparison = compare_evaluations({"c": of_liver(0.5, 0.6), "a": of_liver(0.6, 0.5), "b": of_liver(0.7, 0.9)})
    assert [(paired.first, paired.second) for paired in comparison.paired] == [("c", "a"), ("c", "b"), ("a", "b")]
    assert comparison.methods == ("c", "a", "b")
    assert [(s.method, s.rank) for s in comparison.rankings[0].standings] == [("b", 1), ("c", 2), ("a", 2)]


def test_the_mean_over_labels_takes_those_that_both_have():
    first = evaluation({"a": {"liver": 0.4, "tumour": NAN}, "b": {"liver": 0.4, "tumour": 0.2}, "c": {"liver": NAN}})
    second = evaluation({"a": {"liver": 0.6, "tumour": 0.9}, "b": {"liver": 0.4, "tumour": 0.6}, "c": {"liver": 0.5}})
    comparison = compare_evaluations({"first": first, "second": second})
    both = comparison.paired[-1]
    assert both.label == OVERALL
    assert dict(zip(both.studies, both.differences, strict=True)) == pytest.approx({"a": 0.2, "b": 0.2})
    assert both.undefined_both == ("c",)
    assert comparison.rankings[-1].left_out == ("c",)


def test_a_label_that_one_evaluation_lacks_is_listed_without_numbers():
    first = evaluation({"a": {"liver": 0.5, "spleen": 0.9}, "b": {"liver": 0.5, "spleen": 0.9}})
    comparison = compare_evaluations({"first": first, "second": of_liver(0.6, 0.7)})
    spleen = next(paired for paired in comparison.paired if paired.label == "spleen")
    assert (spleen.n, spleen.missing_second) == (0, ("a", "b"))
    numbers = (spleen.mean, spleen.low, spleen.median, spleen.p, spleen.p_holm, spleen.share_better)
    assert all(math.isnan(number) for number in numbers)
    assert comparison.labels == ("liver", "spleen")  # one label has pairs: no mean over labels
    assert comparison.tests == 1


def test_comparing_again_gives_the_same_numbers():
    named = {"a": of_liver(0.5, 0.6, 0.9), "b": of_liver(0.6, 0.5, 0.95), "c": of_liver(0.4, 0.8, 0.7)}
    assert compare_evaluations(named) == compare_evaluations(named)


def test_an_unknown_score_names_those_that_there_are():
    named = {"a": of_liver(0.5, 0.6), "b": of_liver(0.6, 0.5)}
    there = "found those with a better end in every evaluation: dice, iou, precision, recall$"
    with pytest.raises(ConfigError, match=rf"no study of a, b has a 'hausdorff'; {there}"):
        compare_evaluations(named, "hausdorff")
    with pytest.raises(ConfigError, match=rf"'reference_ml' has no better end to compare by; {there}"):
        compare_evaluations(named, "reference_ml")
    named["b"] = of_liver(NAN, NAN, score="iou")
    with pytest.raises(ConfigError, match=r"no study of b has a 'iou'; .*: dice, precision, recall$"):
        compare_evaluations(named, "iou")


def test_an_unknown_label_names_those_that_there_are():
    named = {"a": of_liver(0.5, 0.6), "b": of_liver(0.6, 0.5)}
    with pytest.raises(ConfigError, match="expected labels among liver, found spleen"):
        compare_evaluations(named, labels=["liver", "spleen"])
    with pytest.raises(ConfigError, match="found none"):
        compare_evaluations(named, labels=[])


def test_nothing_in_common_shows_what_there_is():
    named = {"a": of_liver(0.5), "b": evaluation({"volume-7": {"tumour": 0.5}})}
    with pytest.raises(ConfigError, match=r"no pair at all; for example a, liver \(a\); volume-7, tumour \(b\)"):
        compare_evaluations(named)


def test_one_evaluation_is_not_enough():
    with pytest.raises(ConfigError, match="two evaluations or more, found alone"):
        compare_evaluations({"alone": of_liver(0.5)})


def test_an_evaluation_without_scores_says_how_many_failed():
    failed = Evaluation((), (Failure("a", "broken"), Failure("b", "broken")))
    with pytest.raises(StudyError, match=r"broken: expected scores to compare, found none \(2 failed\)"):
        compare_evaluations({"fine": of_liver(0.5), "broken": failed})


def test_a_study_twice_or_a_word_for_a_number_is_named():
    twice = Evaluation(of_liver(0.5).scores * 2)
    with pytest.raises(StudyError, match="twice: expected each study and label once, found a, liver twice"):
        compare_evaluations({"fine": of_liver(0.5), "twice": twice})
    with pytest.raises(StudyError, match="words: study a, liver: expected a number for dice, found 'high'"):
        compare_evaluations({"fine": of_liver(0.5), "words": of_liver("high")})


def test_a_label_may_not_be_called_like_the_mean_over_labels():
    named = {name: evaluation({"a": {OVERALL: 0.5}}) for name in "xy"}
    with pytest.raises(StudyError, match="'all labels' cannot be compared"):
        compare_evaluations(named)
