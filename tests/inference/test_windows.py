"""Where windows lie and what they weigh."""

from itertools import pairwise

import pytest
import torch

from medseg.inference.windows import Windows, window_starts, window_weights


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("length", [10, 11, 19, 20, 37])
def test_windows_reach_from_edge_to_edge_and_keep_their_overlap(length, overlap):
    (starts, *_) = window_starts((length, 10, 10), Windows((10, 10, 10), overlap=overlap))
    assert starts[0] == 0
    assert starts[-1] + 10 == length
    steps = [b - a for a, b in pairwise(starts)]
    assert all(1 <= step <= max(1, 10 - 10 * overlap + 1e-6) for step in steps)
    # no more windows than the overlap asks for
    assert len(starts) == 1 + -(-(length - 10) // max(1, round(10 * (1 - overlap))))


def test_starts_worked_out_by_hand():
    assert window_starts((10, 4, 7), Windows((4, 4, 4), overlap=0.5)) == [[0, 2, 4, 6], [0], [0, 2, 3]]
    assert window_starts((5, 4, 3), Windows((4, 4, 1), "slice", overlap=0.5)) == [[0, 1], [0], [0, 1, 2]]


def test_steps_are_monais_with_the_last_window_pushed_back():
    windows = Windows((4, 4, 4), overlap=0.5, placement="steps")
    assert window_starts((11, 4, 7), windows) == [[0, 2, 4, 6, 7], [0], [0, 2, 3]]


def test_weights_are_one_in_the_middle_and_a_gaussian_of_an_eighth_of_the_size():
    weights = window_weights((9, 5, 1), "gaussian")
    assert weights[4, 2, 0] == 1.0
    assert weights[6, 2, 0].item() == pytest.approx(2.718281828 ** (-0.5 * (2 / (9 / 8)) ** 2))
    assert weights[0, 0, 0].item() == pytest.approx(1e-3)
    assert torch.equal(weights, weights.flip([0, 1]))
    assert torch.equal(window_weights((2, 3, 4), "constant"), torch.ones(2, 3, 4))


@pytest.mark.parametrize(
    "settings",
    [
        {"size": (4, 4)},
        {"size": (4, 4, 0)},
        {"size": (4, 4, 3), "mode": "slice"},
        {"size": (4, 4, 4), "overlap": 1.0},
        {"size": (4, 4, 4), "batch_size": 0},
        {"size": (4, 4, 4), "blending": "mean"},
        {"size": (4, 4, 4), "mode": "volume"},
        {"size": (4, 4, 4), "flip_axes": (3,)},
        {"size": (4, 4, 4), "placement": "random"},
        {"size": (4, 4, 4), "scales": ()},
        {"size": (4, 4, 4), "scales": (1.0, 0.0)},
        {"size": (4, 4, 4), "scale_fusion": "median"},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="expected"):
        Windows(**settings)
