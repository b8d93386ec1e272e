"""The surface element of each of the 256 neighbourhoods of 2 x 2 x 2 voxels: triangles, as area vectors.

Eight voxel centres are the corners of a cube; the surface between those inside a mask and those outside crosses the
cube's edges in their middles. On a face whose diagonals differ, the voxels of the rarer kind (of four and four: those
inside) are cut off one by one. The crossings form closed loops, and a loop that is not flat can be split into triangles
in several ways: we take the one of the largest area on a cube, and the mean of equal ones, which on sheared grids are
not equal (so that turning a volume's axes changes nothing). On straight grids this gives the published table (marching
cubes; S. Nikolov et al., arXiv:1809.04430, J Med Internet Res 2021;23(7):e26151); a test compares all codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Corner = tuple[int, int, int]
Crossing = tuple[float, float, float]

CODES = 256
"""Neighbourhoods: voxel (i, j, k) of the eight, each 0 or 1, is bit 4 i + 2 j + k."""

_CORNERS: tuple[Corner, ...] = tuple((i, j, k) for i, j, k in product((0, 1), repeat=3))


def neighbourhood_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Code of every 2 x 2 x 2 neighbourhood of a mask; 0 and 255 have no surface.

    Args:
        mask: (I, J, K); voxels outside are not looked at, so pad by one to close the surface at its border.

    Returns:
        (I - 1, J - 1, K - 1): entry (i, j, k) is the neighbourhood between voxels (i, j, k) and (i+1, j+1, k+1).
    """
    two, four, sixteen = np.array([2, 4, 16], dtype=np.uint8)  # numpy multiplies bytes faster than it shifts them
    voxels = mask.view(np.uint8)
    pairs = voxels[:, :, :-1] | voxels[:, :, 1:] * two
    squares = pairs[:, :-1] | pairs[:, 1:] * four
    cubes: NDArray[np.uint8] = squares[:-1] | squares[1:] * sixteen
    return cubes


def element_areas_mm2(linear: Floats) -> Floats:
    """Area of the surface element of every code, (256,), in mm^2.

    Args:
        linear: (3, 3) voxel -> world millimetres, the affine without its origin; oblique and sheared ones are fine.
    """
    # An area vector, half of a cross product, goes with the matrix of cofactors.
    i, j, k = linear.T
    cofactors = np.column_stack([np.cross(j, k), np.cross(k, i), np.cross(i, j)])
    codes, vectors = _area_vectors()
    areas = np.linalg.norm(vectors @ cofactors.T, axis=1)
    return np.bincount(codes, weights=areas, minlength=CODES).astype(np.float64)


@cache
def _area_vectors() -> tuple[NDArray[np.int64], Floats]:
    """Triangles of all codes: the code of each, (N,), and its area vector in voxels, (N, 3)."""
    codes, vectors = [], []
    for code in range(1, CODES - 1):
        inside = {corner for bit, corner in enumerate(_CORNERS) if code >> bit & 1}
        if len(inside) > len(_CORNERS) // 2:
            inside = set(_CORNERS) - inside
        triangles = [vector for loop in _loops(inside) for vector in _triangles(loop)]
        codes += [code] * len(triangles)
        vectors += triangles
    return np.array(codes), np.array(vectors)


def _loops(inside: set[Corner]) -> Iterator[Floats]:
    """The closed lines, (points, 3), in which the surface meets the cube's faces."""
    links: dict[Crossing, list[Crossing]] = {}
    for face in _faces():
        for a, b in _segments(face, inside):
            links.setdefault(a, []).append(b)
            links.setdefault(b, []).append(a)
    while links:
        loop = [next(iter(links))]
        while ahead := [point for point in links.pop(loop[-1]) if point in links]:
            loop.append(ahead[0])
        yield np.array(loop)


def _faces() -> Iterator[list[Corner]]:
    """The four corners of each face, in turn."""
    for axis, side in product(range(3), (0, 1)):
        around = [list(corner) for corner in ((0, 0), (0, 1), (1, 1), (1, 0))]
        for corner in around:
            corner.insert(axis, side)
        yield [(i, j, k) for i, j, k in around]


def _segments(face: list[Corner], inside: set[Corner]) -> list[tuple[Crossing, Crossing]]:
    before = {
        corner: _middle(corner, face[n - 1]) for n, corner in enumerate(face) if _differ(corner, face[n - 1], inside)
    }
    ends = list(before.values())
    if len(ends) == 4:  # the diagonals differ: each corner inside lies between two of the crossings
        return [(before[c], before[face[(n + 1) % 4]]) for n, c in enumerate(face) if c in inside]
    return [(ends[0], ends[1])] if ends else []


def _differ(a: Corner, b: Corner, inside: set[Corner]) -> bool:
    return (a in inside) != (b in inside)


def _middle(a: Corner, b: Corner) -> Crossing:
    i, j, k = ((p + q) / 2 for p, q in zip(a, b, strict=True))
    return i, j, k


def _triangles(loop: Floats) -> Floats:
    """Area vectors, (N, 3), of the triangulation of the largest area; of n equal ones all, each a n-th as long."""
    first, second, third = np.moveaxis(loop[np.array(list(_triangulations(0, len(loop) - 1)))], 2, 0)
    vectors = np.cross(second - first, third - first) / 2
    areas = np.linalg.norm(vectors, axis=2).sum(axis=1)
    largest = np.isclose(areas, areas.max())
    scaled: Floats = vectors[largest].reshape(-1, 3) / np.count_nonzero(largest)
    return scaled


def _triangulations(first: int, last: int) -> Iterator[list[tuple[int, int, int]]]:
    """All ways to split the polygon first, first + 1, ..., last into triangles of its corners."""
    if last - first < 2:
        yield []
    for middle in range(first + 1, last):
        for left in _triangulations(first, middle):
            for right in _triangulations(middle, last):
                yield [*left, (first, middle, last), *right]
