"""Slices moved within their planes: by whole pixels exactly, by parts linearly."""

import numpy as np
import pytest

from medseg.study.dicom.tilt import moved, straight_grid

PLANE = np.array([[10, 20], [30, 50]], np.int16)  # (I, J)


def test_no_shift_is_the_same_grid():
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    grid, start = straight_grid(4, 5, 6, (0.0, 0.0), affine)
    assert (grid.shape, start) == ((4, 5, 6), (0.0, 0.0))
    np.testing.assert_array_equal(grid.affine, affine)


def test_grid_grows_by_what_the_slices_move():
    grid, start = straight_grid(4, 5, 3, (0.0, 0.6), np.eye(4))
    assert (grid.shape, start) == ((4, 7, 3), (0.0, 0.0))
    # to the other side: the first slice's first pixel is no longer the grid's
    grid, start = straight_grid(4, 5, 3, (-1.0, -0.6), np.diag([1.0, 2.0, 3.0, 1.0]))
    assert (grid.shape, start) == ((6, 7, 3), (2.0, 2.0))
    np.testing.assert_array_equal(grid.affine[:3, 3], (-2, -4, 0))


def test_whole_pixels_move_exactly():
    expected = [[-1024, -1024, -1024], [-1024, 10, 20], [-1024, 30, 50]]
    np.testing.assert_array_equal(moved(PLANE, (1.0, 1.0), (3, 3)), expected)


@pytest.mark.parametrize("part", [0.25, 0.5])
def test_parts_of_a_pixel_are_linear(part):
    result = moved(PLANE, (0.0, part), (2, 3))
    assert result[0] == pytest.approx([10 * (1 - part) - 1024 * part, 20 - 10 * part, 20 * part - 1024 * (1 - part)])


def test_every_slice_fits_whatever_the_tilt():
    rng = np.random.default_rng(0)
    for shift in rng.uniform(-3, 3, (50, 2)):
        grid, start = straight_grid(3, 4, 7, (shift[0], shift[1]), np.eye(4))
        for k in range(7):
            offset = (start[0] + k * shift[0], start[1] + k * shift[1])
            plane = moved(np.full((3, 4), 76, np.int16), offset, grid.shape[:2])
            assert plane.shape == grid.shape[:2]
            assert (plane + 1024).sum() == pytest.approx(12 * 1100, rel=1e-5)  # nothing is cut off
