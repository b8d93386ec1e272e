"""What channels mean, on numbers worked out by hand."""

import math

import pytest
import torch

from medseg.errors import ConfigError
from medseg.model.classes import BLANK_LOGIT, Classes
from medseg.types import IGNORE_INDEX

BOTH = Classes(("liver", "tumour"))


def test_background_is_one_more_channel():
    assert BOTH.num_channels == 3
    assert (BOTH.index("liver"), BOTH.index("tumour")) == (1, 2)
    assert BOTH.indices({"tumour": 0.3, "liver": 1}) == ((2, 0.3), (1, 1.0))


def test_a_name_that_is_none_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="the classes liver, tumour, and no 'tumor'; did you mean 'tumour'"):
        BOTH.index("tumor")


def test_target_has_a_one_in_the_channel_of_the_class_and_none_where_ignored():
    label = torch.tensor([[0, 2, IGNORE_INDEX]])
    assert BOTH.target(label)[0].T.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert BOTH.counted(label).tolist() == [[[True, True, False]]]


def test_blank_is_background():
    assert BOTH.blank().tolist() == [BLANK_LOGIT, -BLANK_LOGIT, -BLANK_LOGIT]
    assert BOTH.blank(probabilities=True).tolist() == [1.0, 0.0, 0.0]


def test_probabilities_sum_to_one():
    assert BOTH.probabilities(torch.tensor([[0.0, 0.0, math.log(2)]])).tolist() == [pytest.approx([0.25, 0.25, 0.5])]


def test_the_largest_score_decides_and_among_equals_the_lower_class():
    scores = torch.tensor([[0.5, 0.2, 0.3], [0.5, 0.2, 0.3], [0.0, 0.6, 0.4]])  # three voxels of three channels each
    assert BOTH.decide(scores).tolist() == [0, 2, 2]
    assert BOTH.decide(scores.T.contiguous(), dim=1).tolist() == [0, 2, 2]


def test_a_threshold_decides_before_the_arg_max_and_keeps_others_out():
    scores = torch.tensor([[0.5, 0.2, 0.1], [0.3, 0.5, 0.1], [0.2, 0.3, 0.8]])
    cases = [({"tumour": 0.3}, [0, 2, 2]), ({"tumour": 0.9}, [0, 1, 0]), ({"liver": 0.3}, [1, 1, 2])]
    for thresholds, expected in cases:
        for dim, given in ((0, scores), (1, scores.T.contiguous())):
            assert BOTH.decide(given, BOTH.indices(thresholds), dim=dim).tolist() == expected


def test_uncertainty_runs_from_certain_to_all_alike():
    probabilities = torch.tensor([[1.0, 0.25, 0.5], [0.0, 0.25, 0.5], [0.0, 0.25, 0.0], [0.0, 0.25, 0.0]])[None]
    found = Classes(("a", "b", "c")).uncertainty(probabilities)
    assert found[0, 0].tolist() == pytest.approx([0.0, 1.0, 0.5], abs=1e-6)


def test_thresholded_class_wins_wherever_it_is_likely_enough_and_nowhere_else():
    probabilities = torch.tensor([[0.5, 0.2, 0.1, 0.05], [0.3, 0.5, 0.15, 0.55], [0.2, 0.3, 0.75, 0.4]])
    assert BOTH.decide(probabilities).tolist() == [0, 1, 2, 1]
    assert BOTH.decide(probabilities, [(2, 0.3)]).tolist() == [0, 2, 2, 2]
    assert BOTH.decide(probabilities, [(2, 0.8)]).tolist() == [0, 1, 1, 1]
    assert BOTH.decide(probabilities, [(1, 0.3), (2, 0.3)]).tolist() == [1, 1, 2, 1]
