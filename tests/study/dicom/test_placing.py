"""Frames on grids: in any order and direction of the axes, and never beside them."""

from itertools import permutations, product

import numpy as np
import pytest

from medseg.errors import GeometryError
from medseg.study.dicom.placing import joined_grid, own_grid, place
from medseg.study.dicom.segmentation import read_segmentation
from medseg.types import Grid
from tests.study.seg_files import write_seg

SHAPE = (7, 5, 4)
OBLIQUE = (0.8, 0.6, 0.0, -0.48, 0.64, 0.6)
ACROSS = np.array((0.36, -0.48, 0.8))
VOXELS = np.random.default_rng(1).integers(0, 2, SHAPE).astype(np.uint8)
ORIGIN = np.array((-10.0, 20.0, 30.0))


def seg(tmp_path, places=range(4), step=2 * ACROSS, orientation=OBLIQUE, **measures):
    planes = [(1, ORIGIN + k * step, VOXELS[:, :, int(k) % 4].T) for k in places]
    return read_segmentation(
        write_seg(tmp_path / "s.dcm", planes, {1: "a"}, orientation=orientation, measures=measures), "study a"
    )


def grid_of(step=2 * ACROSS):
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1] = np.multiply(OBLIQUE[:3], 0.5), np.multiply(OBLIQUE[3:], 0.75)
    lps[:3, 2], lps[:3, 3] = step, ORIGIN
    return Grid(SHAPE, np.diag([-1.0, -1, 1, 1]) @ lps)


def put(found, grid):
    out = np.zeros(grid.shape, np.uint8)
    for frame in found.frames:
        place(found, frame, grid).on(out)[...] = found.pixels(frame)
    return out


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_frames_fill_the_slices_where_they_lie_in_any_order(tmp_path, order):
    np.testing.assert_array_equal(put(seg(tmp_path, order), grid_of()), VOXELS)


def test_slices_without_a_frame_stay_empty(tmp_path):
    expected = VOXELS.copy()
    expected[:, :, [1, 2]] = 0
    np.testing.assert_array_equal(put(seg(tmp_path, (3, 0)), grid_of()), expected)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product((1, -1), repeat=3)))
def test_the_grids_axes_may_run_in_any_order_and_direction(tmp_path, axes, flips):
    turned = VOXELS.transpose(axes)[tuple(slice(None, None, flip) for flip in flips)]
    move = np.zeros((4, 4))  # index on the turned grid -> index on the frames' own
    for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
        move[old, new], move[old, 3] = flip, SHAPE[old] - 1 if flip < 0 else 0
    move[3, 3] = 1
    grid = Grid(turned.shape, grid_of().affine @ move)
    np.testing.assert_array_equal(put(seg(tmp_path), grid), turned)


@pytest.mark.parametrize(
    "change",
    ["moved by a voxel", "between slices", "behind the last", "other spacing", "other size", "turned", "half a turn"],
)
def test_other_grids_are_refused_with_the_numbers(tmp_path, change):
    affine, shape = grid_of().affine.copy(), SHAPE
    if change == "moved by a voxel":
        affine[:3, 3] += affine[:3, 0]
    elif change == "between slices":
        affine[:3, 3] += affine[:3, 2] / 2
    elif change == "behind the last":
        shape = (7, 5, 3)
    elif change == "other spacing":
        affine[:3, 0] *= 1.1
    elif change == "other size":
        shape = (8, 5, 4)
    elif change == "turned":
        affine[:3, :2] = affine[:3, :2] @ [[0.96, -0.28], [0.28, 0.96]]
    else:
        affine[:3, :2] = affine[:3, :2] @ [[0.6, -0.8], [0.8, 0.6]]
    with pytest.raises(GeometryError) as caught:
        put(seg(tmp_path), Grid(shape, affine))
    text = str(caught.value)
    assert text.startswith("study a: expected the DICOM-SEG's frames on slices of the image's grid")
    assert "7x5 pixels of 0.5 x 0.75 mm whose first pixel is its voxel (" in text


def test_rounded_positions_are_on_the_grid(tmp_path):
    grid = grid_of()
    grid.affine[:3, 3] += 0.02
    np.testing.assert_array_equal(put(seg(tmp_path), grid), VOXELS)


def test_own_grid_holds_the_frames(tmp_path):
    grid = own_grid(seg(tmp_path, (2, 1, 3)))
    assert grid.shape == (7, 5, 3)
    expected = grid_of().affine.copy()
    expected[:3, 3] += expected[:3, 2]
    np.testing.assert_allclose(grid.affine, expected, atol=1e-5)


def test_own_grid_takes_the_files_spacing_where_it_fits(tmp_path):
    assert own_grid(seg(tmp_path, (0, 2), SpacingBetweenSlices=2.0)).shape == (7, 5, 3)
    assert own_grid(seg(tmp_path, (0, 2))).shape == (7, 5, 2)
    assert own_grid(seg(tmp_path, (0, 1), SpacingBetweenSlices=1.5)).spacing_mm[2] == pytest.approx(2)
    assert own_grid(seg(tmp_path, (0, 1), SliceThickness=1.0)).spacing_mm[2] == pytest.approx(2)


def test_rounding_does_not_add_up_over_many_slices(tmp_path):
    step = np.array((0, 0, 0.625))
    planes = [(1, np.round(ORIGIN + k * step, 2), VOXELS[:, :, 0].T) for k in range(300)]
    found = read_segmentation(write_seg(tmp_path / "s.dcm", planes, {1: "a"}), "s")
    assert own_grid(found).shape == (7, 5, 300)


def test_a_single_plane_is_as_high_as_it_says(tmp_path):
    assert own_grid(seg(tmp_path, (1,), SliceThickness=3.0)).spacing_mm[2] == pytest.approx(3)
    with pytest.raises(GeometryError, match="study a: a single plane without SliceThickness"):
        own_grid(seg(tmp_path, (1,)))


def test_uneven_frames_are_refused_on_their_own_grid(tmp_path):
    found = seg(tmp_path, (0, 1, 2.5))
    with pytest.raises(GeometryError, match=r"frame \d with 7x5 pixels"):
        put(found, own_grid(found))


def test_joined_grids_reach_as_far_as_both(tmp_path):
    one, other = own_grid(seg(tmp_path, (1, 2))), own_grid(seg(tmp_path, (0, 3), SpacingBetweenSlices=2.0))
    for a, b in ((one, other), (other, one), (one, own_grid(seg(tmp_path, (0, 3))))):
        both = joined_grid(a, b, "s")
        assert both.shape == SHAPE
        np.testing.assert_allclose(both.affine, grid_of().affine, atol=1e-5)


def test_frames_of_different_studies_make_no_endless_grid(tmp_path):
    one, other = own_grid(seg(tmp_path, (0, 1))), own_grid(seg(tmp_path, (90000, 90001)))
    with pytest.raises(GeometryError, match="s: expected frames that lie together, found 90002 slices of 2 mm"):
        joined_grid(one, other, "s")
