"""Steps in their order on whole label maps, each answer worked out by hand."""

import numpy as np
import pytest

from medseg.errors import ConfigError
from medseg.inference.postprocess import Inside, PostProcessing, by_name, postprocess
from medseg.types import Grid

CUBIC = Grid((5, 5, 5), np.eye(4))


def volume(*voxels):
    """5 x 5 x 5 background with the given (i, j, k, class)."""
    classes = np.zeros((5, 5, 5), np.uint8)
    for i, j, k, value in voxels:
        classes[i, j, k] = value
    return classes


def keep_largest(classes, which):
    return postprocess(classes, CUBIC, PostProcessing(keep_largest=tuple(which)))


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


def test_of_equal_pieces_the_first_in_array_order_stays_in_either_memory_layout():
    classes = volume((0, 4, 4, 1), (4, 0, 0, 1))
    for array in (classes, np.asfortranarray(classes)):
        assert keep_largest(array, [1]).nonzero() == (0, 4, 4)


EVERYTHING = PostProcessing({2: Inside((1,), 1.0)}, (1, 2, 3), (1, 2, 3), {1: 0.001, 2: 0.001, 3: 0.001})


@pytest.mark.parametrize("classes", [volume(), volume((0, 0, 0, 1), (0, 1, 0, 1), (1, 1, 0, 2))])
def test_absent_classes_stay_absent_and_what_is_clean_stays_as_it_is(classes):
    assert np.array_equal(postprocess(classes, CUBIC, EVERYTHING), classes)


def test_without_a_step_a_copy_comes_back():
    classes = volume((0, 0, 0, 1))
    result = postprocess(classes, CUBIC, PostProcessing())
    assert np.array_equal(result, classes)
    assert not np.shares_memory(result, classes)
    assert (bool(PostProcessing()), bool(PostProcessing(fill_holes=(1,)))) == (False, True)


def test_only_background_is_filled():
    classes = np.ones((5, 5, 5), np.uint8)
    classes[2, 2, 1:4] = [0, 2, 0]
    classes[0, 0, 0] = 0  # no hole: it reaches the border
    expected = np.ones((5, 5, 5), np.uint8)
    expected[2, 2, 2], expected[0, 0, 0] = 2, 0
    assert np.array_equal(postprocess(classes, CUBIC, PostProcessing(fill_holes=(1,))), expected)


def test_an_island_in_a_hole_goes_with_the_hole():
    classes = np.zeros((7, 7, 7), np.uint8)
    classes[1:6, 1:6, 1:6] = 1
    classes[2:5, 2:5, 2:5] = 0
    classes[3, 3, 3] = 1
    both = postprocess(classes, Grid((7, 7, 7), np.eye(4)), PostProcessing(keep_largest=(1,), fill_holes=(1,)))
    assert (both == 1).sum() == 125


def test_other_classes_in_a_hole_do_not_make_a_component_larger():
    classes = np.ones((3, 3, 3), np.uint8)
    classes[1, 1, 1] = 2
    steps = PostProcessing(fill_holes=(1,), minimum_ml={1: 0.027})  # 26 voxels of 0.001 ml
    assert (postprocess(classes, Grid((3, 3, 3), np.eye(4)), steps) == 1).sum() == 0


def test_the_volume_of_a_sheared_voxel_decides():
    affine = np.eye(4)
    affine[:3, :3] = [[2, 0, 5], [0, 2, 0], [0, 0, 2.5]]  # |det| = 10 mm^3, though the third axis is 5.6 mm long
    classes = volume((0, 0, 0, 1), (0, 0, 1, 1), (4, 4, 4, 1), (4, 4, 3, 1), (4, 3, 3, 1), (0, 4, 4, 2))
    result = postprocess(classes, Grid((5, 5, 5), affine), PostProcessing(minimum_ml={1: 0.03}))
    assert np.array_equal(result, volume((4, 4, 4, 1), (4, 4, 3, 1), (4, 3, 3, 1), (0, 4, 4, 2)))


def test_the_organ_is_cleaned_before_what_lies_in_it_whatever_their_numbers():
    classes = np.zeros((12, 1, 1), np.uint8)
    classes[:, 0, 0] = [2, 2, 1, 0, 0, 0, 2, 1, 1, 0, 0, 1]  # the liver is class 2: an island of it bears a tumour
    steps = PostProcessing({1: Inside((2,), 1.0)}, keep_largest=(1, 2))
    assert steps.order() == (2, 1)
    result = postprocess(classes, Grid((12, 1, 1), np.eye(4)), steps)
    assert result.ravel().tolist() == [2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]


def test_the_largest_tumour_is_the_largest_one_inside():
    classes = np.zeros((8, 1, 1), np.uint8)
    classes[:, 0, 0] = [1, 1, 2, 0, 0, 2, 2, 2]
    steps = PostProcessing({2: Inside((1,), 1.0)}, keep_largest=(2,))
    assert postprocess(classes, Grid((8, 1, 1), np.eye(4)), steps).ravel().tolist() == [1, 1, 2, 0, 0, 0, 0, 0]


def test_names_become_indices():
    entries = {
        "inside": {"tumour": {"of": ["liver", "vein"], "margin_mm": 5.0}},
        "keep_largest": ["liver"],
        "fill_holes": ["vein"],
        "minimum_ml": {"tumour": 0.1},
    }
    expected = PostProcessing({2: Inside((1, 3), 5.0)}, (1,), (3,), {2: 0.1})
    assert by_name(entries, ("liver", "tumour", "vein")) == expected
    assert by_name({}, ("liver",)) == PostProcessing()


def test_an_unknown_name_and_an_unknown_step_are_refused():
    with pytest.raises(ConfigError, match="'spleen' is not in liver, tumour"):
        by_name({"minimum_ml": {"spleen": 1.0}}, ("liver", "tumour"))
    with pytest.raises(TypeError, match="smooth"):
        by_name({"smooth": ["liver"]}, ("liver",))


def test_classes_inside_each_other_are_refused():
    with pytest.raises(ConfigError, match=r"classes \[1, 2\] must lie inside each other"):
        PostProcessing({1: Inside((2,)), 2: Inside((1,))})
    with pytest.raises(ConfigError, match="inside each other"):
        PostProcessing({1: Inside((1,))})
