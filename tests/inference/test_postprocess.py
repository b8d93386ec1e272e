"""Only the largest piece stays."""

import numpy as np
import pytest

from medseg.inference.postprocess import keep_largest


def volume(*voxels):
    """5 x 5 x 5 background with the given (i, j, k, class)."""
    classes = np.zeros((5, 5, 5), np.uint8)
    for i, j, k, value in voxels:
        classes[i, j, k] = value
    return classes


def test_largest_piece_stays_and_the_rest_becomes_background():
    classes = volume((0, 0, 0, 1), (0, 0, 1, 1), (4, 4, 4, 1), (2, 4, 4, 2))
    before = classes.copy()
    result = keep_largest(classes, [1])
    assert np.array_equal(result, volume((0, 0, 0, 1), (0, 0, 1, 1), (2, 4, 4, 2)))
    assert result.dtype == np.uint8
    assert np.array_equal(classes, before)


def test_touching_corners_are_one_piece():
    diagonal = volume((0, 0, 0, 1), (1, 1, 1, 1), (2, 2, 2, 1), (4, 4, 0, 1), (4, 4, 1, 1))
    assert np.array_equal(keep_largest(diagonal, [1]), volume((0, 0, 0, 1), (1, 1, 1, 1), (2, 2, 2, 1)))


def test_each_class_is_cleaned_by_itself_and_others_are_left_alone():
    classes = volume(
        *[(0, j, 0, 1) for j in range(3)],
        (2, 0, 0, 1),
        (0, 0, 2, 2),
        (4, 0, 2, 2),
        (4, 1, 2, 2),
        (0, 4, 4, 3),
        (4, 4, 4, 3),
    )
    expected = classes.copy()
    expected[2, 0, 0] = expected[0, 0, 2] = 0
    assert np.array_equal(keep_largest(classes, [1, 2]), expected)


def test_another_class_between_two_pieces_does_not_join_them():
    classes = volume((0, 0, 0, 1), (1, 0, 0, 1), (2, 0, 0, 2), (3, 0, 0, 1))
    assert keep_largest(classes, [1])[:4, 0, 0].tolist() == [1, 1, 2, 0]


@pytest.mark.parametrize("which", [[], [3], [1, 3]])
def test_absent_class_stays_absent_and_one_piece_stays_as_it_is(which):
    classes = volume((0, 0, 0, 1), (0, 1, 0, 1), (4, 4, 4, 2))
    assert np.array_equal(keep_largest(classes, which), classes)


def test_of_equal_pieces_the_first_stays():
    assert keep_largest(volume((0, 0, 0, 1), (4, 4, 4, 1)), [1]).nonzero() == (0, 0, 0)
