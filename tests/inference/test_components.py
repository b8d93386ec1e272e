"""Pieces and holes, each worked out by hand."""

import numpy as np
import pytest

from medseg.inference.components import at_least, components, filled, largest


def mask(*voxels, shape=(5, 5, 5)):
    out = np.zeros(shape, bool)
    for voxel in voxels:
        out[voxel] = True
    return out


def shell():
    """A 5 x 5 x 5 cube with a hole of one voxel in its middle."""
    out = np.ones((5, 5, 5), bool)
    out[2, 2, 2] = False
    return out


def test_touching_corners_are_one_component_and_numbers_follow_the_array():
    numbers, count = components(mask((4, 4, 4), (0, 0, 0), (1, 1, 1), (3, 0, 0)))
    assert count == 3
    assert [numbers[v] for v in ((0, 0, 0), (1, 1, 1), (3, 0, 0), (4, 4, 4))] == [1, 1, 2, 3]


def test_the_largest_stays():
    assert np.array_equal(largest(mask((0, 0, 0), (4, 4, 4), (4, 4, 3))), mask((4, 4, 4), (4, 4, 3)))


def test_of_equal_ones_the_first_in_array_order_stays():
    assert np.array_equal(largest(mask((4, 0, 0), (0, 4, 4), (2, 2, 2))), mask((0, 4, 4)))


def test_a_component_of_exactly_the_minimum_stays():
    pieces = mask((0, 0, 0), (2, 0, 0), (2, 0, 1), (2, 0, 2))
    assert (
        at_least(pieces, 0.3, 0.1).sum() == 3
    )  # 3 * 0.1 is a little more than 0.3, and 0.7 * 3 a little less than 2.1
    assert at_least(pieces, 2.1, 0.7).sum() == 3
    assert at_least(pieces, 2.2, 0.7).sum() == 0
    assert at_least(pieces, 0.05, 0.1).sum() == 4


def test_a_closed_hole_is_filled():
    assert filled(shell()).all()


def test_a_hole_with_a_way_out_by_a_face_is_none():
    open_ = shell()
    open_[2, 2, 3:] = False
    assert np.array_equal(filled(open_), open_)


def test_a_hole_with_a_way_out_by_a_corner_only_is_filled():
    out = shell()
    out[1, 1, 1] = out[0, 0, 0] = False
    expected = np.ones((5, 5, 5), bool)
    expected[0, 0, 0] = False
    assert np.array_equal(filled(out), expected)


@pytest.mark.parametrize("empty", [mask(), mask(shape=(1, 1, 1))])
def test_nothing_stays_nothing(empty):
    assert not largest(empty).any()
    assert not at_least(empty, 1.0, 1.0).any()
    assert not filled(empty).any()


@pytest.mark.parametrize("function", [largest, filled, lambda m: at_least(m, 1.0, 1.0)])
def test_a_new_array_comes_back(function):
    one = mask((0, 0, 0))
    assert function(one) is not one
    assert np.array_equal(one, mask((0, 0, 0)))
