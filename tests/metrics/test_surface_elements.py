"""The table of areas beside the published one, and its symmetries on grids that the published one does not know."""

from itertools import permutations, product

import numpy as np
import pytest
from monai.metrics.utils import get_code_to_measure_table

from medseg.metrics.surface_elements import CODES, element_areas_mm2, neighbourhood_codes

SHEARED = np.array([[-0.7, 0.1, 0.2], [0.1, -0.7, 0.9], [0.05, 0.2, 2.9]])


def spaced(*spacing_mm):
    return np.diag(spacing_mm)


def cube(code):
    return np.array([code >> bit & 1 for bit in range(8)], bool).reshape(2, 2, 2)


@pytest.mark.parametrize(
    "spacing_mm", [(1, 1, 1), (1, 2, 5), (0.7, 0.9, 3.1), (3.0, 1.3, 0.4), (0.78125, 0.78125, 2.5)]
)
def test_areas_of_all_codes_equal_the_published_table(spacing_mm):
    # The two number the eight voxels in opposite order, which is a point reflection and so the same area.
    published, _ = get_code_to_measure_table(np.array(spacing_mm))
    np.testing.assert_allclose(element_areas_mm2(spaced(*spacing_mm)), published.numpy(), rtol=1e-6)
    np.testing.assert_allclose(element_areas_mm2(spaced(*spacing_mm)), published.numpy()[_reversed()], rtol=1e-6)


def _reversed():
    return [int(f"{code:08b}"[::-1], 2) for code in range(CODES)]


def test_the_areas_of_simple_neighbourhoods_are_those_worked_out_by_hand():
    areas = element_areas_mm2(spaced(2, 3, 4))
    corner, edge, face = 0b00000001, 0b00000011, 0b00001111
    # A triangle through the middles of three edges: half the cross product of (1, -1.5, 0) and (1, 0, -2).
    assert areas[corner] == pytest.approx(np.linalg.norm([3, 2, 1.5]) / 2)
    # Two voxels along k: a rectangle of 4 mm along k by the diagonal of half a face across, (1, 1.5) mm.
    assert areas[edge] == pytest.approx(4 * np.hypot(1, 1.5))
    assert areas[face] == pytest.approx(3 * 4)  # voxels (0, j, k): the whole face between j and k
    assert areas[0b10000001] == pytest.approx(2 * areas[corner])  # opposite corners are cut off one by one
    assert (areas[0], areas[255]) == (0, 0)


def test_inside_and_outside_have_the_same_surface():
    straight, sheared = element_areas_mm2(spaced(0.7, 0.9, 3.1)), element_areas_mm2(SHEARED)
    np.testing.assert_allclose(straight, straight[::-1], rtol=1e-12)
    # Of four and four voxels those inside are cut off, and only a straight grid gives both cuts one area.
    decided = [code for code in range(CODES) if code.bit_count() != 4]
    np.testing.assert_allclose(sheared[decided], sheared[::-1][decided], rtol=1e-12)


@pytest.mark.parametrize("linear", [spaced(0.7, 0.9, 3.1), SHEARED], ids=["spaced", "sheared"])
def test_turning_the_axes_of_a_volume_changes_no_area(linear):
    areas = element_areas_mm2(linear)
    for order, flips in product(permutations(range(3)), product((1, -1), repeat=3)):
        turned = linear[:, list(order)] * flips
        codes = [
            int(
                neighbourhood_codes(
                    np.ascontiguousarray(cube(code).transpose(order)[tuple(slice(None, None, f) for f in flips)])
                ).item()
            )
            for code in range(CODES)
        ]
        np.testing.assert_allclose(element_areas_mm2(turned)[codes], areas, rtol=1e-12)


def test_codes_are_those_of_the_eight_voxels():
    assert [neighbourhood_codes(cube(code)).item() for code in range(CODES)] == list(range(CODES))
    mask = np.zeros((4, 3, 5), bool)
    mask[1, 1, 2] = True
    codes = neighbourhood_codes(mask)
    assert codes.shape == (3, 2, 4)
    # Of the neighbourhood that starts at (i, j, k), the voxel is number (1 - i, 1 - j, 2 - k).
    expected = {(i, j, k): 1 << (4 * (1 - i) + 2 * (1 - j) + 2 - k) for i, j, k in product((0, 1), (0, 1), (1, 2))}
    assert {tuple(int(n) for n in at): int(codes[tuple(at)]) for at in np.argwhere(codes)} == expected


def test_the_surface_of_a_slab_is_its_two_faces():
    mask = np.zeros((2, 9, 9), bool)
    mask[0] = True
    areas = element_areas_mm2(spaced(5, 0.5, 2))[neighbourhood_codes(mask)]
    np.testing.assert_allclose(areas, 1.0)
