"""Where windows lie and what they weigh."""

from itertools import pairwise

import pytest
import torch

from medseg.inference.windows import Windows
from medseg.model.inference import Inference
from medseg.model.view import View


def windows(*size, mode="patch", **settings):
    return Windows(Inference(window_size=size, **settings), View(mode))


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("length", [10, 11, 19, 20, 37])
def test_windows_reach_from_edge_to_edge_and_keep_their_overlap(length, overlap):
    (starts, *_) = windows(10, 10, 10, overlap=overlap).starts((length, 10, 10))
    assert starts[0] == 0
    assert starts[-1] + 10 == length
    steps = [b - a for a, b in pairwise(starts)]
    assert all(1 <= step <= max(1, 10 - 10 * overlap + 1e-6) for step in steps)
    # no more windows than the overlap asks for
    assert len(starts) == 1 + -(-(length - 10) // max(1, round(10 * (1 - overlap))))


def test_starts_worked_out_by_hand():
    assert windows(4, 4, 4, overlap=0.5).starts((10, 4, 7)) == [[0, 2, 4, 6], [0], [0, 2, 3]]
    assert windows(4, 4, mode="slice", overlap=0.5).starts((5, 4, 3)) == [[0, 1], [0], [0, 1, 2]]


def test_steps_are_monais_with_the_last_window_pushed_back():
    found = windows(4, 4, 4, overlap=0.5, placement="steps").starts((11, 4, 7))
    assert found == [[0, 2, 4, 6, 7], [0], [0, 2, 3]]


def test_weights_are_one_in_the_middle_and_a_gaussian_of_an_eighth_of_the_size():
    weights = windows(9, 5, mode="slice").weights()
    assert weights[4, 2, 0] == 1.0
    assert weights[6, 2, 0].item() == pytest.approx(2.718281828 ** (-0.5 * (2 / (9 / 8)) ** 2))
    assert weights[0, 0, 0].item() == pytest.approx(1e-3)
    assert torch.equal(weights, weights.flip([0, 1]))
    assert torch.equal(windows(2, 3, 4, blending="constant").weights(), torch.ones(2, 3, 4))


@pytest.mark.parametrize(
    "settings",
    [
        {"window_size": (4, 4, 0)},
        {"window_size": (4,)},
        {"overlap": 1.0},
        {"batch_size": 0},
        {"blending": "mean"},
        {"flip_axes": ("K",)},
        {"placement": "random"},
        {"scales": ()},
        {"scales": (1.0, 0.0)},
        {"scale_fusion": "median"},
        {"memory_gib": 0},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_by_name(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Inference(**settings)


@pytest.mark.parametrize(("size", "mode"), [((4, 4), "patch"), ((4, 4, 3), "slice"), ((), "patch")])
def test_a_size_that_does_not_go_with_the_view_is_refused(size, mode):
    with pytest.raises(ValueError, match="numbers in mode"):
        assert Windows(Inference(window_size=size or None), View(mode)).size


def test_a_window_is_cut_as_the_network_gets_it():
    image = torch.arange(3.0 * 4 * 5).reshape(3, 4, 5)
    patch = windows(2, 3, 4)
    assert (patch.size, patch.input_shape) == ((2, 3, 4), (1, 2, 3, 4))
    assert torch.equal(patch.cut(image, (1, 0, 1)), image[None, 1:3, 0:3, 1:5])
    slab = Windows(Inference(window_size=(2, 3)), View("slab", 1))
    assert (slab.size, slab.input_shape) == ((2, 3, 1), (3, 2, 3))
    assert torch.equal(slab.cut(image, (0, 1, 4)), image[:2, 1:4][..., [3, 4, 4]].movedim(-1, 0))
    assert slab.boxed(torch.zeros(3, 2, 3)).shape == (3, 2, 3, 1)
