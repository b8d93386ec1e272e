import pytest
import torch
from torch import nn

from medseg.networks.layers.boxes import Box, Reach, interpolated, needed
from medseg.networks.layers.upsampling import resize


def strided():
    """Sees 1 voxel on each side, then 2 cells of 2 voxels: 5 voxels; counted as 2 * (1 + 2)."""
    return nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.Conv2d(2, 1, 3, padding=2, dilation=2))


def test_a_part_is_cut_and_put_back():
    x = torch.arange(24.0).reshape(1, 1, 4, 6)
    outer, inner = Box((1, 0), (4, 6)), Box((2, 1), (3, 5))
    part = inner.cut(outer.cut(x, Box.all((4, 6))), outer)
    assert torch.equal(part, x[:, :, 2:3, 1:5])
    spread = inner.spread(part, (4, 6))
    assert torch.equal(spread[:, :, 2:3, 1:5], part)
    assert spread.sum() == part.sum()
    assert inner.joined(Box((3, 0), (4, 2))) == Box((2, 0), (4, 5))


def test_the_reach_of_layers_is_at_least_what_their_gradient_says():
    layers = strided()
    assert Reach.of(layers) == Reach((2, 2), (6, 6))
    x = torch.randn(1, 1, 41, 41, requires_grad=True)
    layers(x)[0, 0, 10, 10].backward()
    places = x.grad[0, 0].nonzero()
    assert (20 - places.min(), places.max() - 20) == (5, 5)


@pytest.mark.parametrize("asked", [Box((0, 0), (3, 2)), Box((7, 9), (8, 12)), Box((15, 3), (17, 19))])
def test_a_part_of_the_input_gives_the_part_that_is_asked_for(asked):
    layers, x = strided().double(), torch.randn(1, 1, 33, 38).double()
    reach = Reach.of(layers)
    part = reach.needs(asked, (33, 38), (2, 2))
    found = layers(part.cut(x, Box.all((33, 38))))
    given = reach.gives(part)
    assert tuple(found.shape[2:]) == tuple(b - a for a, b in zip(*given, strict=True))
    torch.testing.assert_close(asked.cut(found, given), asked.cut(layers(x), Box.all((17, 19))))


def test_a_stage_also_gives_what_the_next_one_needs():
    plain, dilated = Reach((1,), (1,)), Reach((1,), (4,))
    parts = needed([[plain, plain], [dilated]], [Box((20,), (22,)), Box((21,), (22,))], [(40,)] * 3)
    assert parts == [Box((15,), (28,)), Box((16,), (27,))]
    assert needed([[dilated]], [Box((21,), (22,))], [(40,)] * 2) == [Box((17,), (26,))]


def test_a_part_begins_where_later_strides_put_a_cell():
    strides = Reach((2,), (2,))
    (first,) = needed([[strides], [strides]], [Box((9,), (10,)), Box((5,), (6,))], [(50,), (25,), (13,)])
    assert first.start == (12,)  # 5 * 2 - 2 = 8 cells of the middle map, 8 * 2 - 2 = 14, and a multiple of 4
    assert first.start[0] % 4 == 0


@pytest.mark.parametrize(("low", "high"), [(0, 0), (11, 12), (15, 16), (30, 34), (36, 36)])
def test_interpolation_takes_no_other_cells(low, high):
    mask = torch.zeros(37, 5, dtype=torch.bool)
    mask[low : high + 1, 2] = True
    whole = torch.randn(1, 1, 10, 2)
    box = interpolated(mask, (40, 5), (10, 2))
    part = box.spread(box.cut(whole, Box.all((10, 2))), (10, 2))
    taken = mask.expand(1, 1, 37, 5)
    assert torch.equal(resize(part, (40, 5))[:, :, :37][taken], resize(whole, (40, 5))[:, :, :37][taken])
