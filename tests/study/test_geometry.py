"""Grids that agree, grids that do not, and voxel axes to RAS and back."""

from itertools import permutations, product

import nibabel
import numpy as np
import pytest

from medseg.errors import GeometryError
from medseg.study.geometry import (
    GRID_TOLERANCE_MM,
    check_affine,
    corner_distance_mm,
    orientation,
    reorient,
    reorient_like,
    require_same_grid,
    same_grid,
    same_voxels,
    to_ras,
)
from medseg.types import Grid

SHAPE = (3, 4, 5)


def signed_permutation(axes, signs):
    """Affine whose voxel axis ``axes[r]`` runs along world axis r, with spacings 1, 2, 3 mm along I, J, K."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for r in range(3):
        affine[r, axes[r]] = signs[r] * (axes[r] + 1)
    affine[:3, 3] = (-7.0, 11.0, 13.0)
    return affine


ALL_48 = [signed_permutation(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def tilted(degrees=20.0):
    """LPS grid turned about the x axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.8, -0.8, 3.0])
    affine[:3, 3] = (100.0, 90.0, -50.0)
    return affine


def test_grid_shifted_within_the_tolerance_is_the_same():
    a = np.diag([0.7, 0.7, 5.0, 1.0])
    b = a.copy()
    b[0, 3] += 0.9 * GRID_TOLERANCE_MM
    assert same_grid(Grid(SHAPE, a), Grid(SHAPE, b))
    assert not same_grid(Grid(SHAPE, a), Grid(SHAPE, b), tolerance_mm=0.05)


def test_distance_is_taken_at_the_far_corner():
    # 0.01 mm more spacing along I alone: corner i = 100 moves by 100 * 0.01 = 1 mm
    a, b = np.eye(4), np.diag([1.01, 1.0, 1.0, 1.0])
    assert corner_distance_mm(Grid((101, 2, 2), a), Grid((101, 2, 2), b)) == pytest.approx(1.0)
    assert not same_grid(Grid((101, 2, 2), a), Grid((101, 2, 2), b))


def test_float32_rounding_of_a_large_oblique_grid_is_tolerated():
    affine = tilted(17.3)
    rounded = affine.astype(np.float32).astype(np.float64)
    assert same_grid(Grid((512, 512, 600), affine), Grid((512, 512, 600), rounded))


def test_other_shape_is_refused_with_both_shapes():
    with pytest.raises(GeometryError, match=r"study s1: expected one grid, found shapes 3x4x5 and 3x4x6"):
        require_same_grid(Grid(SHAPE, np.eye(4)), Grid((3, 4, 6), np.eye(4)), "study s1")


def test_other_place_is_refused_with_the_distance_and_origins():
    moved = np.eye(4)
    moved[2, 3] = 2.5
    with pytest.raises(GeometryError, match=r"2\.50 mm apart \(tolerance 0\.1 mm\).*\(0\.00, 0\.00, 2\.50\)"):
        require_same_grid(Grid(SHAPE, np.eye(4)), Grid(SHAPE, moved), "study s1")


def test_mirrored_grid_is_refused_with_its_orientation():
    mirrored = np.diag([-1.0, 1.0, 1.0, 1.0])
    with pytest.raises(GeometryError, match="orientations RAS and LAS"):
        require_same_grid(Grid(SHAPE, np.eye(4)), Grid(SHAPE, mirrored), "study s1")


def test_equal_grids_pass():
    assert require_same_grid(Grid(SHAPE, tilted()), Grid(SHAPE, tilted()), "study s1") is None


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.eye(3), "4 x 4"),
        (np.diag([1.0, np.nan, 1.0, 1.0]), "not finite"),
        (np.diag([1.0, 1e-30, 1.0, 1.0]), "expected a spacing between 0.001 and 10000 mm, found 1 x 1e-30 x 1 mm"),
        (np.diag([1e6, 1.0, 1.0, 1.0]), r"found 1e\+06 x 1 x 1 mm; repair"),
        (np.eye(4) + np.eye(4, k=3) * 1e9, r"expected an origin within 1e\+06 mm, found 1 0 0 1e\+09;"),
        (np.diag([1.0, 0.0, 1.0, 1.0]), "no volume"),
        (np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "no volume"),
        (np.diag([1.0, 1.0, 1.0, 2.0]), "last row"),
    ],
)
def test_unusable_affine_is_refused(affine, message):
    with pytest.raises(GeometryError, match=f"scan.nii: .*{message}"):
        check_affine(affine, "scan.nii")


def test_tiny_voxels_and_tilted_gantry_are_usable():
    sheared = np.diag([1e-3, 1e-3, 1e-3, 1.0])
    sheared[1, 2] = 0.6e-3
    assert check_affine(sheared, "micro") is None


@pytest.mark.parametrize("affine", [*ALL_48, tilted(), tilted(-35)])
def test_orientation_agrees_with_nibabel(affine):
    assert orientation(affine) == "".join(nibabel.aff2axcodes(affine))


def test_orientation_of_known_grids():
    assert orientation(np.eye(4)) == "RAS"
    assert orientation(np.diag([-1.0, -1.0, 2.0, 1.0])) == "LPS"
    # i runs upwards, j to the left, k backwards
    assert orientation(np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])) == "SLP"


def test_to_ras_of_a_sagittal_grid():
    affine = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    assert to_ras(affine) == ((1, 2, 0), (True, True, False))


@pytest.mark.parametrize("affine", [*ALL_48, tilted()])
def test_every_voxel_keeps_its_place_in_the_world_and_comes_back(affine):
    voxels = np.arange(60).reshape(SHAPE)
    ras, ras_affine = reorient(voxels, affine)
    assert orientation(ras_affine) == "RAS"
    for index in ((0, 0, 0), tuple(n - 1 for n in ras.shape), (1, 2, 1)):
        old = np.argwhere(voxels == ras[index])[0]
        np.testing.assert_allclose((ras_affine @ [*index, 1])[:3], (affine @ [*old, 1])[:3])
    np.testing.assert_array_equal(reorient_like(ras, affine), voxels)


def test_channels_stay_in_front():
    voxels = np.arange(120).reshape(2, *SHAPE)
    affine = ALL_48[-1]
    ras, _ = reorient(voxels, affine)
    np.testing.assert_array_equal(ras[1], reorient(voxels[1], affine)[0])
    np.testing.assert_array_equal(reorient_like(ras, affine), voxels)


def test_reordering_copies_nothing():
    voxels = np.zeros(SHAPE)
    assert np.shares_memory(reorient(voxels, tilted())[0], voxels)


def test_voxels_are_the_same_in_any_order_and_direction_of_the_axes():
    affine = np.array([[0.8, -0.1, 0, 5], [0.1, 0.8, 0, -7], [0, 0, 3, 2], [0, 0, 0, 1]])
    turn = np.array([[0, -1, 0, 3], [0, 0, 1, 0], [-1, 0, 0, 5], [0, 0, 0, 1.0]])  # (a, b, c) -> (3 - b, c, 5 - a)
    grid, turned = Grid((4, 5, 6), affine), Grid((6, 4, 5), affine @ turn)
    assert same_voxels(grid, turned)
    assert not same_grid(grid, turned)
    moved = turned.affine.copy()
    moved[0, 3] += 0.2
    assert not same_voxels(grid, Grid((6, 4, 5), moved))
    assert not same_voxels(grid, Grid((6, 4, 6), turned.affine))
