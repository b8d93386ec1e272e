"""Which voxels of a class lie outside the organ that they must lie in.

In a label map a tumour takes the place of liver, so the liver's voxels alone are a liver with a piece missing. The
organ is therefore

    the voxels of the named classes,
    with every component of the class that has replaced organ: at least half of its surface (in mm^2) lies against it,
    with the holes of the two together.

A tumour deep in the liver is inside however large it is, and so is one under the capsule, which encloses no hole. A
component that merely touches the organ, or leaks out of it by a narrow neck, is no part of it: it stays as far as the
margin reaches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.inference.components import Mask, chosen, components, filled

_ROUNDING_MM = 1e-4
"""Distances that equal the margin but for the float32 numbers of a header are within it."""


def outside(
    classes: NDArray[np.uint8], index: int, of: Sequence[int], axes_mm: NDArray[np.float64], margin_mm: float
) -> Mask:
    """The voxels of a class that no voxel of the organ is near enough to.

    Args:
        classes: (I, J, K) class indices, at least the boxes of the class and of the organ.
        index: the class.
        of: the classes that make the organ; where none of them is there, every voxel is outside.
        axes_mm: (3, 3), column a is the step of one voxel along axis a in world millimetres.
        margin_mm: a voxel is inside if its centre is at most this far from the centre of a voxel of the organ; exact on
            anisotropic, oblique and sheared grids.

    Returns:
        (I, J, K) mask, part of the class.
    """
    mask: Mask = classes == index
    organ = np.zeros_like(mask)
    for other in of:
        organ |= classes == other
    if not mask.any() or not organ.any():
        return mask
    organ |= _replacing(mask, organ, axes_mm)
    out: Mask = mask & ~filled(organ)
    if margin_mm > 0 and out.any():
        out[out] = ~_near(out, organ, axes_mm, margin_mm)
    return out


def _replacing(mask: Mask, organ: Mask, axes_mm: NDArray[np.float64]) -> Mask:
    """The components of the mask with at least half of their surface against the organ."""
    numbers, count = components(mask)
    surface, against = np.zeros(count + 1), np.zeros(count + 1)
    voxels, owners = np.argwhere(mask), numbers[mask]
    for axis in range(3):
        area = float(np.linalg.norm(np.cross(axes_mm[:, axis - 2], axes_mm[:, axis - 1])))
        for step in (-1, 1):
            beside = voxels[:, axis] + step
            there = (beside >= 0) & (beside < mask.shape[axis])  # a face at the edge of the scan is on neither side
            at = [voxels[there, a] if a != axis else beside[there] for a in range(3)]
            surface += area * np.bincount(owners[there][~mask[*at]], minlength=count + 1)
            against += area * np.bincount(owners[there][organ[*at]], minlength=count + 1)
    choice = (against >= surface / 2 * (1 - 1e-9)) & (against > 0)
    return chosen(mask, numbers, choice)


def _near(out: Mask, organ: Mask, axes_mm: NDArray[np.float64], margin_mm: float) -> Mask:
    """For each voxel of ``out`` in array order: whether the organ is within the margin."""
    # A tree of the surface around these few voxels: a distance transform takes 30 bytes a voxel of the box, and knows
    # no sheared grids.
    from scipy.spatial import cKDTree

    points = np.argwhere(out)
    reach = np.ceil(margin_mm * np.linalg.norm(np.linalg.inv(axes_mm), axis=1) + _ROUNDING_MM).astype(int)
    extent = ndimage.find_objects(organ.view(np.uint8))[0]
    low = np.maximum(points.min(axis=0) - reach, [side.start for side in extent])
    high = np.minimum(points.max(axis=0) + reach + 1, [side.stop for side in extent])
    if (low >= high).any():
        return np.zeros(len(points), dtype=bool)
    surface = np.argwhere(_surface(organ[tuple(slice(a, b) for a, b in zip(low, high, strict=True))])) + low
    if not len(surface):
        return np.zeros(len(points), dtype=bool)
    tree = cKDTree(surface @ axes_mm.T, balanced_tree=False, compact_nodes=False)
    distances, _ = tree.query(points @ axes_mm.T, distance_upper_bound=margin_mm + _ROUNDING_MM)
    near: Mask = np.isfinite(distances)
    return near


def _surface(mask: Mask) -> Mask:
    """Voxels with one of their 26 neighbours outside: among them is the nearest one to any voxel outside."""
    inner = mask.copy()
    for axis in range(3):
        rows = np.moveaxis(inner, axis, 0)  # a view
        before = rows.copy()
        rows[1:] &= before[:-1]
        rows[:-1] &= before[1:]
        rows[0] = rows[-1] = False
    return mask & ~inner
