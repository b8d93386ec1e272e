"""Distances in mm from points of a grid to the nearest of other points of the same grid, on any affine.

Surfaces that are compared are mostly close together. So we look around all points at once, at the nearest grid places
first: a point is done where the first target lies. Each look is one pass over the points that are left, much cheaper
than a tree; those far away from every target are left to a tree as soon as looking has cost as much as asking it would.
Both give the distance itself, no approximation.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]

BALL_POINTS = 2000
"""About how many grid points around a point are looked at before the tree is asked."""

# Nanoseconds, roughly: only when the tree takes over depends on them, no distance.
_LOOK_NS = 10_000
_LOOK_POINT_NS = 5
_TREE_TARGET_NS = 400
_TREE_POINT_NS = 2500


@dataclass(frozen=True, eq=False)
class Ball:
    """The grid points around one, all of them up to some distance.

    Attributes:
        linear: (3, 3) voxel -> world millimetres, without the origin.
        shells: distance in mm and the offsets (N, 3) at that distance, nearest first, from distance 0 on.
        reach: the largest offset along each axis.
    """

    linear: Floats
    shells: tuple[tuple[float, NDArray[np.intp]], ...]
    reach: tuple[int, int, int]


def grid_ball(linear: Floats, points: int = BALL_POINTS) -> Ball:
    """The ball of about ``points`` grid points.

    Args:
        linear: (3, 3) voxel -> world millimetres, without the origin.
        points: 1 or more.
    """
    radius = float(np.cbrt(3 * points * abs(np.linalg.det(linear)) / (4 * np.pi)))
    # The furthest that a ball goes along a voxel axis: the length of that row of the inverse, times the radius.
    i, j, k = (int(n) for n in np.floor(radius * np.linalg.norm(np.linalg.inv(linear), axis=1)))
    offsets = np.array(list(product(range(-i, i + 1), range(-j, j + 1), range(-k, k + 1))))
    lengths = np.linalg.norm(offsets @ linear.T, axis=1)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] <= radius]
    offsets, lengths = offsets[order], lengths[order]
    ends = [*np.flatnonzero(np.diff(lengths) > 1e-9 * radius) + 1, len(lengths)]
    starts = [0, *ends[:-1]]
    shells = tuple((float(lengths[a]), offsets[a:b]) for a, b in zip(starts, ends, strict=True))
    return Ball(linear, shells, (i, j, k))


def nearest_distances_mm(at: NDArray[np.intp], targets: NDArray[np.bool_], ball: Ball) -> Floats:
    """Distance of every point to the nearest target, (N,).

    Args:
        at: (N,) indices of the points into the flat array ``targets``.
        targets: (I, J, K) bool in C order, with one target at least; no point and no target among the last
            ``ball.reach`` along each axis, so that no offset comes out on the other side.
        ball: of the grid.
    """
    flat = targets.reshape(-1)
    _, planes, rows = targets.shape
    strides = np.array([planes * rows, rows, 1])
    distances = np.zeros(at.size)
    left = np.arange(at.size)
    spent, building = 0, _TREE_TARGET_NS * np.count_nonzero(flat)
    for distance, offsets in ball.shells:
        if not left.size or spent > building + _TREE_POINT_NS * left.size:
            break
        spent += len(offsets) * (_LOOK_NS + _LOOK_POINT_NS * left.size)
        reached = np.zeros(left.size, dtype=bool)
        for step in offsets @ strides:
            reached |= flat[at + step]  # before the first is from the end, which is empty
        distances[left[reached]] = distance
        left, at = left[~reached], at[~reached]
    if left.size:
        # Points of a grid need no balancing: splitting boxes in the middle builds the tree in half the time.
        tree = cKDTree(_world(np.flatnonzero(flat), targets.shape, ball.linear), balanced_tree=False, leafsize=32)
        distances[left] = tree.query(_world(at, targets.shape, ball.linear))[0]
    return distances


def _world(at: NDArray[np.intp], shape: tuple[int, ...], linear: Floats) -> Floats:
    return np.asarray(np.column_stack(np.unravel_index(at, shape)) @ linear.T, dtype=np.float64)
