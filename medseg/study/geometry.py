"""Do two grids agree, how is a grid oriented, and how do its voxel axes become R, A, S.

Affines map voxel indices (i, j, k) to world millimetres in RAS+. Reordering permutes and mirrors voxel axes and never
interpolates: an oblique grid stays oblique, its axes come as close to R, A, S as they can.
"""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryError
from medseg.types import Affine, Grid

GRID_TOLERANCE_MM = 0.1
"""Distance between the corner voxels of two grids up to which they count as one grid.

NIfTI keeps affines in float32, and an orientation kept as a quaternion or as text of six digits comes back a few
0.01 mm off at the far corner of a 500 mm volume. A shift that matters is a good part of a voxel, and CT voxels are
0.3 mm or more: a tenth of a millimetre lies between the two.
"""

_SMALLEST_VOLUME_SHARE = 1e-3
"""Voxel volume over the product of its edge lengths; a gantry tilt of 30 degrees gives 0.87, a flattened grid 0."""

SPACING_RANGE_MM = (1e-3, 1e4)
"""What a voxel may measure: from a micrometre, finer than any scanner, to 10 m."""

FARTHEST_ORIGIN_MM = 1e6
"""A kilometre from the scanner's centre; float32 affines are still exact to 0.1 mm there."""

_CODES = (("L", "R"), ("P", "A"), ("I", "S"))


def corner_distance_mm(a: Grid, b: Grid) -> float:
    """Largest distance in mm between the positions that two affines give to the 8 corner voxels of ``a``'s shape."""
    corners = np.array(list(product(*((0, size - 1) for size in a.shape))), dtype=np.float64)
    move = a.affine - b.affine
    return float(np.linalg.norm(corners @ move[:3, :3].T + move[:3, 3], axis=1).max())


def same_grid(a: Grid, b: Grid, tolerance_mm: float = GRID_TOLERANCE_MM) -> bool:
    """Whether two grids have one shape and their 8 corner voxels lie within ``tolerance_mm`` of each other."""
    return a.shape == b.shape and corner_distance_mm(a, b) <= tolerance_mm


def require_same_grid(image: Grid, label: Grid, what: str, tolerance_mm: float = GRID_TOLERANCE_MM) -> None:
    """Refuse a label (or segmentation) that does not share its image's grid.

    Args:
        image: the grid that holds.
        label: the grid that must agree with it.
        what: names the study in the message, e.g. ``"study liver_0: image and label"``.
        tolerance_mm: see ``GRID_TOLERANCE_MM``.

    Raises:
        GeometryError: the shapes differ, or corner voxels lie further apart; the message gives the numbers.
    """
    if same_grid(image, label, tolerance_mm):
        return
    if image.shape != label.shape:
        found = f"shapes {_shape(image)} and {_shape(label)}, spacings {_spacing(image)} and {_spacing(label)} mm"
    else:
        found = (
            f"corner voxels {corner_distance_mm(image, label):.2f} mm apart (tolerance {tolerance_mm:g} mm), "
            f"origins {_origin(image)} and {_origin(label)} mm, "
            f"orientations {orientation(image.affine)} and {orientation(label.affine)}"
        )
    raise GeometryError(
        f"{what}: expected one grid, found {found}; "
        "take the label drawn on this image, or resample it onto the image's grid"
    )


def same_voxels(a: Grid, b: Grid) -> bool:
    """Whether two grids are one but for the order and direction of their axes, as converters change them."""
    return same_grid(_in_ras(a), _in_ras(b))


def check_affine(affine: Affine, what: str) -> None:
    """Refuse an affine that cannot place voxels.

    Raises:
        GeometryError: not (4, 4), not finite, last row not 0 0 0 1, voxels without volume (singular), or spacings or
            an origin that no scanner gives.
    """
    if affine.shape != (4, 4):
        raise GeometryError(f"{what}: expected a 4 x 4 affine, found shape {affine.shape}")
    rows = "; ".join(" ".join(f"{value:g}" for value in row) for row in affine)
    if not np.isfinite(affine).all():
        raise GeometryError(f"{what}: the affine holds values that are not finite ({rows}); repair the file's header")
    if not np.allclose(affine[3], (0, 0, 0, 1)):
        raise GeometryError(f"{what}: expected 0 0 0 1 as the affine's last row, found {rows}")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / lengths)) < _SMALLEST_VOLUME_SHARE:
        raise GeometryError(f"{what}: the affine gives voxels no volume ({rows}); repair the file's header")
    smallest, largest = SPACING_RANGE_MM
    if lengths.min() < smallest or lengths.max() > largest:
        found = " x ".join(f"{value:g}" for value in lengths)
        raise GeometryError(
            f"{what}: expected a spacing between {smallest:g} and {largest:g} mm, found {found} mm; "
            "repair the file's header"
        )
    if np.abs(affine[:3, 3]).max() > FARTHEST_ORIGIN_MM:
        raise GeometryError(
            f"{what}: expected an origin within {FARTHEST_ORIGIN_MM:g} mm, found {rows}; repair the file's header"
        )


def to_ras(affine: Affine) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """How to reorder voxel axes so that they run closest to R, A, S.

    Of the six ways to pair voxel axes with world axes, the one with the largest sum of absolute direction cosines, so
    the answer does not hang on which axis is looked at first.

    Returns:
        (axes, flips): voxel axis ``axes[r]`` becomes axis r, and is mirrored where ``flips[r]``.

    Raises:
        GeometryError: the affine is not usable.
    """
    check_affine(affine, "affine")
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    # [world axis, voxel axis]; rounding keeps a tie at 45 degrees a tie, then the file's own order wins
    axes = max(permutations(range(3)), key=lambda order: round(sum(abs(cosines[r, order[r]]) for r in range(3)), 6))
    flips = tuple(bool(cosines[r, axes[r]] < 0) for r in range(3))
    return axes, flips  # type: ignore[return-value]  # both have three entries


def orientation(affine: Affine) -> str:
    """Where the voxel axes I, J, K point, as letters: ``"LPS"`` means that i grows to the left, j backwards, k upwards.

    Raises:
        GeometryError: the affine is not usable.
    """
    axes, flips = to_ras(affine)
    return "".join(_CODES[axes.index(axis)][not flips[axes.index(axis)]] for axis in range(3))


def reorient(voxels: NDArray[Any], affine: Affine) -> tuple[NDArray[Any], Affine]:
    """Bring an array's voxel axes into RAS order; nothing is interpolated.

    Args:
        voxels: (..., I, J, K); leading axes (channels) stay.
        affine: (4, 4) of the array as it is.

    Returns:
        A view (negative strides where mirrored; ``np.ascontiguousarray`` before handing it to torch), and its affine.

    Raises:
        GeometryError: the affine is not usable.
    """
    axes, flips = to_ras(affine)
    lead = voxels.ndim - 3
    moved = voxels.transpose(*range(lead), *(lead + axis for axis in axes))
    old_from_new = np.zeros((4, 4))
    old_from_new[3, 3] = 1.0
    for r, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        old_from_new[axis, r] = -1.0 if flip else 1.0
        old_from_new[axis, 3] = voxels.shape[lead + axis] - 1 if flip else 0.0
    return _mirror(moved, flips), affine @ old_from_new


def reorient_like(voxels: NDArray[Any], affine_native: Affine) -> NDArray[Any]:
    """Undo ``reorient``: bring an array in RAS order back to the order of the grid it came from.

    Args:
        voxels: (..., R, A, S) as ``reorient`` gave it.
        affine_native: the affine that ``reorient`` was given.

    Returns:
        A view of shape (..., I, J, K).

    Raises:
        GeometryError: the affine is not usable.
    """
    axes, flips = to_ras(affine_native)
    lead = voxels.ndim - 3
    back = np.argsort(axes)
    return _mirror(voxels, flips).transpose(*range(lead), *(int(lead + axis) for axis in back))


def _in_ras(grid: Grid) -> Grid:
    voxels, affine = reorient(np.broadcast_to(np.uint8(0), grid.shape), grid.affine)
    i, j, k = voxels.shape
    return Grid((i, j, k), affine)


def _mirror(voxels: NDArray[Any], flips: tuple[bool, bool, bool]) -> NDArray[Any]:
    r, a, s = (slice(None, None, -1 if flip else 1) for flip in flips)
    return voxels[..., r, a, s]


def _shape(grid: Grid) -> str:
    return "x".join(str(size) for size in grid.shape)


def _spacing(grid: Grid) -> str:
    return " x ".join(f"{value:.4g}" for value in grid.spacing_mm)


def _origin(grid: Grid) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in grid.affine[:3, 3]) + ")"
