import itertools

import numpy as np
import pytest

from medseg.errors import GeometryError
from medseg.evaluation import regrid
from medseg.evaluation.regrid import outside_share, resample_nearest
from medseg.types import Grid, Volume

OBLIQUE = np.array([[0.8, -0.6, 0, 1], [0.6, 0.8, 0.1, -2], [0, 0, 1.5, 3], [0, 0, 0, 1]])
LPS = np.diag([-1.0, -1.0, 2.0, 1.0])


def volume(shape: tuple[int, int, int], affine: np.ndarray) -> Volume:
    values = np.random.default_rng(0).integers(0, 4, shape).astype(np.uint8)
    return Volume(values, Grid(shape, affine))


def one_by_one(labels: Volume, grid: Grid) -> np.ndarray:
    """Every voxel by itself, as the definition has it."""
    out = np.zeros(grid.shape, np.uint8)
    for voxel in itertools.product(*map(range, grid.shape)):
        world = grid.affine @ [*voxel, 1]
        at = np.floor((np.linalg.inv(labels.grid.affine) @ world)[:3] + 0.5 + 1e-6).astype(int)
        if (at >= 0).all() and (at < labels.grid.shape).all():
            out[voxel] = labels.voxels[tuple(at)]
    return out


@pytest.mark.parametrize("old", [np.eye(4), LPS, OBLIQUE], ids=["eye", "LPS", "oblique"])
@pytest.mark.parametrize("new", [np.diag([0.7, 1.3, 2.5, 1.0]), OBLIQUE], ids=["straight", "oblique"])
def test_every_voxel_takes_the_value_of_the_voxel_that_it_lies_in(old, new, monkeypatch):
    monkeypatch.setattr(regrid, "_SLAB_VOXELS", 64)  # several slabs
    labels = volume((9, 8, 7), old)
    labels.grid.affine[:3, 3] -= old[:3, :3] @ [4, 4, 2]
    grid = Grid((8, 6, 5), new.copy())
    grid.affine[:3, 3] = new[:3, :3] @ [-4, -3, -2]
    expected = one_by_one(labels, grid)
    assert len(np.unique(expected)) > 1
    assert np.array_equal(resample_nearest(labels, grid, "s1"), expected)


def test_the_same_grid_in_another_order_gives_the_same_voxels_turned():
    labels = volume((4, 5, 6), np.eye(4))
    turned = np.array([[-1, 0, 0, 3], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])  # I mirrored, J and K swapped
    found = resample_nearest(labels, Grid((4, 6, 5), turned), "s1")
    assert np.array_equal(found, labels.voxels[::-1].transpose(0, 2, 1))


def test_what_lies_outside_is_background_and_its_share_is_known():
    labels = Volume(np.ones((2, 2, 2), np.uint8), Grid((2, 2, 2), np.eye(4)))
    larger = Grid((4, 2, 2), np.eye(4))
    assert resample_nearest(labels, larger, "s1").tolist() == [[[1, 1]] * 2] * 2 + [[[0, 0]] * 2] * 2
    assert outside_share(labels.grid, larger) == 0.5
    assert outside_share(larger, labels.grid) == 0.0


def test_grids_that_do_not_meet_are_refused_with_their_places():
    far = np.eye(4)
    far[:3, 3] = 100
    with pytest.raises(GeometryError, match=r"s1: expected grids that overlap.*\(100\.5, 100\.5, 100\.5\) mm"):
        resample_nearest(volume((2, 2, 2), np.eye(4)), Grid((2, 2, 2), far), "s1")
