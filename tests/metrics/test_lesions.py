"""Lesions whose places, volumes and diameters are known, and brute force beside the convex hull."""

from itertools import product

import numpy as np
import pytest

from medseg.metrics.lesions import lesion_table, longest_diameter_mm

SPACING = np.diag([1.0, 2.0, 5.0, 1.0])
TILTED = np.array([[-0.7, 0.1, 0.2, 90.5], [0.1, -0.7, 0.9, 80.25], [0.05, 0.2, 2.9, -300.0], [0, 0, 0, 1]])


def empty(shape=(8, 7, 6)):
    return np.zeros(shape, bool)


def brute_force(voxels, affine):
    corners = [np.add(voxel, corner) for voxel in voxels for corner in product((-0.5, 0.5), repeat=3)]
    world = np.array(corners) @ affine[:3, :3].T
    return max(np.linalg.norm(world - point, axis=1).max() for point in world)


def test_empty_mask_gives_an_empty_table():
    table = lesion_table(empty(), SPACING)
    assert (table.count, table.lesions) == (0, ())


def test_one_voxel_measures_its_diagonal():
    mask = empty()
    mask[3, 2, 1] = True
    (lesion,) = lesion_table(mask, SPACING).lesions
    assert (lesion.index, lesion.voxels, lesion.mean_hu, lesion.mean_uncertainty) == (1, 1, None, None)
    assert lesion.centre_mm == (3.0, 4.0, 5.0)
    assert lesion.volume_ml == pytest.approx(0.01)  # 1 x 2 x 5 mm
    assert lesion.longest_diameter_mm == pytest.approx(np.sqrt(1 + 4 + 25))


@pytest.mark.parametrize(
    ("box", "size_mm"),
    [
        ((slice(1, 7), 2, 3), (6, 2, 5)),  # a line
        ((slice(1, 7), slice(0, 4), 3), (6, 8, 5)),  # one slice
        ((slice(0, 8), slice(0, 7), slice(0, 6)), (8, 14, 30)),  # all there is
    ],
)
def test_a_box_measures_its_diagonal(box, size_mm):
    mask = empty()
    mask[box] = True
    (lesion,) = lesion_table(mask, SPACING).lesions
    assert lesion.longest_diameter_mm == pytest.approx(np.linalg.norm(size_mm))


def test_largest_comes_first_and_corners_connect():
    mask = empty()
    mask[0, 0, 0] = mask[1, 1, 1] = True  # touch at a corner: one lesion
    mask[5:7, 4:6, 3] = True
    mask[7, 0, 5] = True
    image = np.zeros(mask.shape, np.int16)
    image[0, 0, 0], image[1, 1, 1], image[5:7, 4:6, 3], image[7, 0, 5] = 10, 31, -100, 32767
    uncertainty = np.zeros(mask.shape, np.uint8)
    uncertainty[1, 1, 1], uncertainty[5, 4, 3] = 255, 51
    table = lesion_table(mask, SPACING, image=image, uncertainty=uncertainty)
    assert table.count == 3
    assert [lesion.index for lesion in table.lesions] == [1, 2, 3]
    assert [lesion.voxels for lesion in table.lesions] == [4, 2, 1]
    assert [lesion.mean_hu for lesion in table.lesions] == [-100.0, 20.5, 32767.0]
    assert [lesion.mean_uncertainty for lesion in table.lesions] == pytest.approx([0.05, 0.5, 0.0])
    assert table.lesions[0].centre_mm == (5.5, 9.0, 15.0)
    assert table.lesions[1].centre_mm == (0.5, 1.0, 2.5)


def test_a_neighbour_in_the_same_box_does_not_count():
    mask = np.zeros((7, 7, 1), bool)
    mask[:, 0, 0] = mask[0, :, 0] = mask[:, 6, 0] = mask[6, :, 0] = True  # a ring
    mask[3, 3, 0] = True
    ring, dot = lesion_table(mask, np.eye(4), image=np.where(mask, 1, 9) + np.eye(7)[:, :, None] * 0).lesions
    assert (ring.voxels, dot.voxels, dot.centre_mm) == (24, 1, (3.0, 3.0, 0.0))
    assert ring.mean_hu == 1.0


def test_sheared_and_oblique_grids_give_world_millimetres():
    mask = empty()
    mask[2, 3, 1:5] = True
    (lesion,) = lesion_table(mask, TILTED).lesions
    np.testing.assert_allclose(lesion.centre_mm, (TILTED @ [2, 3, 2.5, 1])[:3])
    assert lesion.volume_ml == pytest.approx(4 * abs(np.linalg.det(TILTED[:3, :3])) / 1000)
    assert lesion.longest_diameter_mm == pytest.approx(brute_force(np.argwhere(mask), TILTED))


@pytest.mark.parametrize("affine", [SPACING, TILTED], ids=["spacing", "tilted"])
def test_diameter_equals_brute_force_on_random_shapes(affine):
    rng = np.random.default_rng(0)
    for share in (0.02, 0.1, 0.3, 0.8):
        for _ in range(5):
            mask = rng.random((6, 5, 4)) < share
            if mask.any():
                expected = brute_force(np.argwhere(mask), affine)
                assert longest_diameter_mm(mask, affine) == pytest.approx(expected, rel=1e-12)


def test_diameter_of_nothing_is_0():
    assert longest_diameter_mm(empty(), SPACING) == 0.0


def test_diameter_of_a_large_ball_is_its_own_and_at_most_a_diagonal_more():
    i, j, k = np.ogrid[-40:41, -40:41, -40:41]
    ball = i**2 + j**2 + k**2 <= 40**2
    (lesion,) = lesion_table(ball, np.eye(4)).lesions
    assert 80 <= lesion.longest_diameter_mm <= 80 + np.sqrt(3)
    assert lesion.voxels == np.count_nonzero(ball)


def test_noise_is_counted_and_only_the_largest_are_listed():
    mask = np.zeros((31, 31, 31), bool)
    mask[::2, ::2, ::2] = True  # 4096 single voxels
    mask[0, 0, :3] = True  # which joins two of them
    table = lesion_table(mask, np.eye(4))
    assert (table.count, len(table.lesions)) == (4095, 1000)
    assert [lesion.voxels for lesion in table.lesions[:2]] == [3, 1]
    assert len(lesion_table(mask, np.eye(4), limit=2).lesions) == 2


def test_arrays_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"one shape, found \(8, 7, 5\), \(8, 7, 6\)"):
        lesion_table(empty(), np.eye(4), image=np.zeros((8, 7, 5)))
