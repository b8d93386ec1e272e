"""Steps in their order on whole label maps, each answer worked out by hand."""

import numpy as np
import pytest

from medseg.errors import ConfigError
from medseg.inference.postprocess import postprocess
from medseg.model.classes import Classes
from medseg.model.postprocess import Inside, PostProcessing
from medseg.types import Grid

CUBIC = Grid((5, 5, 5), np.eye(4))
ABC = Classes(("a", "b", "c"))


def volume(*voxels):
    """5 x 5 x 5 background with the given (i, j, k, class)."""
    classes = np.zeros((5, 5, 5), np.uint8)
    for i, j, k, value in voxels:
        classes[i, j, k] = value
    return classes


def keep_largest(classes, which):
    return postprocess(classes, CUBIC, PostProcessing(keep_largest=tuple(which)), ABC)


def test_largest_piece_stays_and_the_rest_becomes_background():
    classes = volume((0, 0, 0, 1), (0, 0, 1, 1), (4, 4, 4, 1), (2, 4, 4, 2))
    before = classes.copy()
    result = keep_largest(classes, "a")
    assert np.array_equal(result, volume((0, 0, 0, 1), (0, 0, 1, 1), (2, 4, 4, 2)))
    assert result.dtype == np.uint8
    assert np.array_equal(classes, before)


def test_touching_corners_are_one_piece():
    diagonal = volume((0, 0, 0, 1), (1, 1, 1, 1), (2, 2, 2, 1), (4, 4, 0, 1), (4, 4, 1, 1))
    assert np.array_equal(keep_largest(diagonal, "a"), volume((0, 0, 0, 1), (1, 1, 1, 1), (2, 2, 2, 1)))


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
    assert np.array_equal(keep_largest(classes, "ab"), expected)


def test_another_class_between_two_pieces_does_not_join_them():
    classes = volume((0, 0, 0, 1), (1, 0, 0, 1), (2, 0, 0, 2), (3, 0, 0, 1))
    assert keep_largest(classes, "a")[:4, 0, 0].tolist() == [1, 1, 2, 0]


def test_of_equal_pieces_the_first_in_array_order_stays_in_either_memory_layout():
    classes = volume((0, 4, 4, 1), (4, 0, 0, 1))
    for array in (classes, np.asfortranarray(classes)):
        assert keep_largest(array, "a").nonzero() == (0, 4, 4)


EVERYTHING = PostProcessing({}, {"b": Inside(("a",), 1.0)}, ABC.names, ABC.names, dict.fromkeys(ABC.names, 0.001))


@pytest.mark.parametrize("classes", [volume(), volume((0, 0, 0, 1), (0, 1, 0, 1), (1, 1, 0, 2))])
def test_absent_classes_stay_absent_and_what_is_clean_stays_as_it_is(classes):
    assert np.array_equal(postprocess(classes, CUBIC, EVERYTHING, ABC), classes)


def test_without_a_step_a_copy_comes_back():
    classes = volume((0, 0, 0, 1))
    result = postprocess(classes, CUBIC, PostProcessing(), ABC)
    assert np.array_equal(result, classes)
    assert not np.shares_memory(result, classes)
    assert (PostProcessing().cleaned, PostProcessing(fill_holes=("a",)).cleaned) == ((), ("a",))


def test_only_background_is_filled():
    classes = np.ones((5, 5, 5), np.uint8)
    classes[2, 2, 1:4] = [0, 2, 0]
    classes[0, 0, 0] = 0  # no hole: it reaches the border
    expected = np.ones((5, 5, 5), np.uint8)
    expected[2, 2, 2], expected[0, 0, 0] = 2, 0
    assert np.array_equal(postprocess(classes, CUBIC, PostProcessing(fill_holes=("a",)), ABC), expected)


def test_an_island_in_a_hole_goes_with_the_hole():
    classes = np.zeros((7, 7, 7), np.uint8)
    classes[1:6, 1:6, 1:6] = 1
    classes[2:5, 2:5, 2:5] = 0
    classes[3, 3, 3] = 1
    both = postprocess(classes, Grid((7, 7, 7), np.eye(4)), PostProcessing(keep_largest=("a",), fill_holes=("a",)), ABC)
    assert (both == 1).sum() == 125


def test_other_classes_in_a_hole_do_not_make_a_component_larger():
    classes = np.ones((3, 3, 3), np.uint8)
    classes[1, 1, 1] = 2
    steps = PostProcessing(fill_holes=("a",), minimum_ml={"a": 0.027})  # 26 voxels of 0.001 ml
    assert (postprocess(classes, Grid((3, 3, 3), np.eye(4)), steps, ABC) == 1).sum() == 0


def test_the_volume_of_a_sheared_voxel_decides():
    affine = np.eye(4)
    affine[:3, :3] = [[2, 0, 5], [0, 2, 0], [0, 0, 2.5]]  # |det| = 10 mm^3, though the third axis is 5.6 mm long
    classes = volume((0, 0, 0, 1), (0, 0, 1, 1), (4, 4, 4, 1), (4, 4, 3, 1), (4, 3, 3, 1), (0, 4, 4, 2))
    result = postprocess(classes, Grid((5, 5, 5), affine), PostProcessing(minimum_ml={"a": 0.03}), ABC)
    assert np.array_equal(result, volume((4, 4, 4, 1), (4, 4, 3, 1), (4, 3, 3, 1), (0, 4, 4, 2)))


def test_the_organ_is_cleaned_before_what_lies_in_it_whatever_their_numbers():
    classes = np.zeros((12, 1, 1), np.uint8)
    classes[:, 0, 0] = [2, 2, 1, 0, 0, 0, 2, 1, 1, 0, 0, 1]  # the liver is class 2: an island of it bears a tumour
    steps = PostProcessing(inside={"a": Inside(("b",), 1.0)}, keep_largest=("a", "b"))
    result = postprocess(classes, Grid((12, 1, 1), np.eye(4)), steps, ABC)
    assert result.ravel().tolist() == [2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]


def test_the_largest_tumour_is_the_largest_one_inside():
    classes = np.zeros((8, 1, 1), np.uint8)
    classes[:, 0, 0] = [1, 1, 2, 0, 0, 2, 2, 2]
    steps = PostProcessing(inside={"b": Inside(("a",), 1.0)}, keep_largest=("b",))
    assert postprocess(classes, Grid((8, 1, 1), np.eye(4)), steps, ABC).ravel().tolist() == [1, 1, 2, 0, 0, 0, 0, 0]


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="the classes a, b, c, and no 'spleen'"):
        postprocess(volume(), CUBIC, PostProcessing(minimum_ml={"spleen": 1.0}), ABC)
