"""Distances beside all pairs of points, whether found around the point or by the tree."""

import numpy as np
import pytest

from medseg.metrics.nearest import grid_ball, nearest_distances_mm

SPACED = np.diag([0.7, 0.9, 3.1])
SHEARED = np.array([[-0.7, 0.1, 0.2], [0.1, -0.7, 0.9], [0.05, 0.2, 2.9]])


def padded(mask, ball):
    return np.pad(mask, [(0, reach) for reach in ball.reach])


@pytest.mark.parametrize("linear", [np.eye(3), SPACED, SHEARED], ids=["unit", "spaced", "sheared"])
@pytest.mark.parametrize("points", [1, 30, 500])
@pytest.mark.parametrize("tree_first", [False, True])
def test_distances_equal_all_pairs(monkeypatch, linear, points, tree_first):
    if tree_first:
        monkeypatch.setattr("medseg.metrics.nearest._LOOK_NS", 1e12)
    ball = grid_ball(linear, points)
    rng = np.random.default_rng(0)
    for share in (0.002, 0.05, 0.5):
        sources, targets = rng.random((2, 9, 8, 7)) < share
        targets[0, 0, 0] = targets[-1, -1, -1] = True  # the ends of the flat array
        sources[0, 0, 1] = sources[-1, -1, -2] = True
        world = [np.argwhere(mask) @ linear.T for mask in (sources, targets)]
        expected = np.linalg.norm(world[0][:, None] - world[1][None], axis=2).min(axis=1)
        at = np.flatnonzero(padded(sources, ball))
        np.testing.assert_allclose(nearest_distances_mm(at, padded(targets, ball), ball), expected, rtol=1e-12)


def test_no_points_have_no_distances():
    ball = grid_ball(SPACED, 10)
    assert nearest_distances_mm(np.array([], np.intp), padded(np.ones((1, 1, 1), bool), ball), ball).shape == (0,)


@pytest.mark.parametrize("linear", [np.eye(3), SPACED, SHEARED], ids=["unit", "spaced", "sheared"])
def test_a_ball_holds_every_grid_point_up_to_its_last_shell(linear):
    ball = grid_ball(linear, 300)
    distances = [distance for distance, _ in ball.shells]
    assert distances == sorted(distances)
    assert ball.shells[0][1].tolist() == [[0, 0, 0]]
    found = {tuple(int(n) for n in offset) for _, offsets in ball.shells for offset in offsets}
    around = np.indices((41, 41, 41)).reshape(3, -1).T - 20
    within = around[np.linalg.norm(around @ linear.T, axis=1) <= distances[-1]]
    assert np.abs(within).max() < 20
    assert found == {tuple(int(n) for n in offset) for offset in within}
    assert 250 < len(found) < 350
    assert all(max(abs(offset[axis]) for offset in found) <= ball.reach[axis] for axis in range(3))
