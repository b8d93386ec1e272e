"""A tumour in the liver stays, one beyond the margin goes; distances in millimetres on every grid."""

import numpy as np
import pytest

from medseg.inference.inside import outside

CUBIC = np.eye(3)
LIVER, TUMOUR = 1, 2


def line(*values, axis=0):
    """A label map one voxel thick."""
    shape = [1, 1, 1]
    shape[axis] = len(values)
    return np.array(values, np.uint8).reshape(shape)


@pytest.mark.parametrize(("axis", "spacing"), [(0, (0.5, 9, 9)), (1, (9, 0.5, 9)), (2, (9, 9, 0.5))])
def test_the_margin_is_in_millimetres_along_each_axis(axis, spacing):
    classes = line(1, 0, 2, 2, 2, axis=axis)  # 1.0, 1.5 and 2.0 mm from the liver
    found = [outside(classes, TUMOUR, [LIVER], np.diag(spacing), mm).ravel().tolist() for mm in (0.99, 1.0, 1.5, 2.0)]
    assert [sum(row) for row in found] == [3, 2, 1, 0]
    assert found[1] == [False, False, False, True, True]


def test_the_margin_is_a_ball():
    classes = np.zeros((7, 7, 7), np.uint8)
    classes[0, 0, 0], classes[3, 4, 0], classes[4, 4, 0] = 1, 2, 2  # 5 and 5.66 voxels away
    assert np.argwhere(outside(classes, TUMOUR, [LIVER], CUBIC, 5.0)).tolist() == [[4, 4, 0]]
    anisotropic = np.diag([1.0, 1.0, 5.0])
    classes[1, 0, 1] = 2  # sqrt(26) mm
    assert outside(classes, TUMOUR, [LIVER], anisotropic, 5.1)[1, 0, 1] == 0
    assert outside(classes, TUMOUR, [LIVER], anisotropic, 5.0)[1, 0, 1] == 1


def test_a_sheared_grid_is_measured_in_the_world():
    sheared = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])  # a step along K goes 1 mm along I too
    classes = np.zeros((3, 1, 2), np.uint8)
    classes[1, 0, 0], classes[0, 0, 1], classes[1, 0, 1] = 1, 2, 2  # 1 mm straight up, and sqrt(2)
    assert np.argwhere(outside(classes, TUMOUR, [LIVER], sheared, 1.2)).tolist() == [[1, 0, 1]]
    assert not outside(classes, TUMOUR, [LIVER], sheared, 1.42).any()


def test_rounding_of_the_header_does_not_decide():
    spacing = np.diag(np.array([0.7, 0.7, 0.7], np.float32).astype(float) + 1e-6)
    assert not outside(line(1, 0, 0, 2), TUMOUR, [LIVER], spacing, 2.1).any()


def test_a_large_tumour_in_the_middle_of_the_liver_is_inside():
    classes = np.full((11, 11, 11), 1, np.uint8)
    classes[2:9, 2:9, 2:9] = 2
    assert not outside(classes, TUMOUR, [LIVER], CUBIC, 0.0).any()


def test_a_tumour_in_a_hole_that_it_does_not_fill_is_inside():
    classes = np.full((7, 7, 7), 1, np.uint8)
    classes[1:6, 1:6, 1:6] = 0
    classes[3, 3, 3] = 2
    assert not outside(classes, TUMOUR, [LIVER], CUBIC, 0.0).any()


def test_a_tumour_under_the_capsule_is_inside_as_it_has_replaced_liver():
    classes = np.zeros((10, 9, 9), np.uint8)
    classes[:6] = 1
    classes[1:6, 2:7, 2:7] = 2  # five of its six sides against the liver, the sixth free
    assert not outside(classes, TUMOUR, [LIVER], CUBIC, 0.0).any()


def test_what_merely_touches_the_liver_stays_as_far_as_the_margin_reaches():
    classes = np.zeros((10, 5, 5), np.uint8)
    classes[:3, :, :] = 1
    classes[3:9, 1:4, 1:4] = 2  # one of its six sides against the liver
    gone = outside(classes, TUMOUR, [LIVER], CUBIC, 2.0)
    assert sorted(set(np.argwhere(gone)[:, 0].tolist())) == [5, 6, 7, 8]
    assert gone.sum() == 4 * 9


@pytest.mark.parametrize(("thickness_mm", "stays"), [(2.0, True), (0.5, False)])
def test_surface_is_counted_in_square_millimetres(thickness_mm, stays):
    classes = np.zeros((3, 3, 4), np.uint8)
    classes[:, :, 0] = 1
    classes[0, 1, 2] = classes[2, 1, 2] = classes[1, 0, 2] = 1
    classes[1, 1, 2] = 2  # three of four walls against liver, floor and roof free: 3t >= t + 2 from t = 1 mm on
    assert (not outside(classes, TUMOUR, [LIVER], np.diag([1.0, 1.0, thickness_mm]), 0.0).any()) == stays


def test_several_classes_make_one_organ():
    classes = line(3, 2, 0, 2, 1)
    assert not outside(classes, TUMOUR, [1, 3], CUBIC, 1.0).any()
    assert outside(classes, TUMOUR, [1], CUBIC, 1.0).ravel().tolist() == [False, True, False, False, False]


def test_without_the_organ_everything_is_outside():
    assert outside(line(2, 0, 2), TUMOUR, [LIVER], CUBIC, 100.0).sum() == 2


def test_without_the_class_nothing_is():
    assert not outside(line(1, 0, 1), TUMOUR, [LIVER], CUBIC, 1.0).any()


def test_it_is_the_distance_to_the_nearest_voxel_on_a_random_map():
    random = np.random.default_rng(5)
    classes = (random.random((9, 8, 7)) > 0.985).astype(np.uint8)
    free = (classes == 0) & (random.random(classes.shape) > 0.5)
    classes[free] = 2  # one large component, hardly any of it against liver
    axes = np.array([[0.8, 0.1, 0.3], [0.0, 0.9, 0.2], [0.1, 0.0, 2.5]])
    liver, tumour = (np.argwhere(classes == c) @ axes.T for c in (1, 2))
    nearest = np.sqrt(((tumour[:, None] - liver[None]) ** 2).sum(-1)).min(axis=1)
    found = outside(classes, TUMOUR, [LIVER], axes, 1.95)
    assert np.array_equal(found[classes == 2], nearest > 1.95)
    assert 0 < found.sum() < len(tumour)
