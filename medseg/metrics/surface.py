"""How far two surfaces lie apart: Hausdorff distance, its 95th percentile, mean distance, surface Dice; all in mm.

Each surface is a set of points, each with the distance d to the nearest point of the other surface and a weight w:

    definition  points                                              w
    elements    corners of voxels whose 2 x 2 x 2 neighbourhood     area of the surface there in mm^2
                holds both kinds of voxels                          (metrics.surface_elements)
    voxels      centres of voxels of the mask of which one of       1
                the six neighbours lies outside it

    HD    the largest d of both surfaces
    HD95  the larger of both surfaces' 95th percentile of d. elements: the smallest d below or at which 95 % of the
          surface's area lies. voxels: linear between the two nearest ranks.
    ASSD  sum of w d of both surfaces / sum of w of both surfaces: a mean over all the surface there is, so the larger
          surface counts for more than in the mean of the two surfaces' means
    NSD   w of the points with d <= tolerance of both surfaces / w of both surfaces

``elements`` is the definition of S. Nikolov et al. (arXiv:1809.04430; J Med Internet Res 2021;23(7):e26151), whose
program gives the two means that ASSD is made of; ``voxels`` is MONAI's. What lies outside the volume is outside every
mask: a mask that touches the border has a surface there. Distances are between points in the world, right for oblique
and sheared grids. A distance that is larger than the tolerance by less than a millionth of it still counts as within
it, because headers hold float32 spacings.

Voxels that the reference ignores are taken out of both masks, as they are for the overlap. Where both masks reach an
ignored region its border is a surface of both, at distance 0.

    empty             HD, HD95, ASSD   NSD
    both              NaN              NaN
    one of the two    NaN              0       a distance to nothing is not defined
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.metrics.boxes import axes_in_memory, class_boxes, united
from medseg.metrics.nearest import Ball, grid_ball, nearest_distances_mm
from medseg.metrics.surface_elements import element_areas_mm2, neighbourhood_codes
from medseg.types import IGNORE_INDEX, Affine, Definition

Floats = NDArray[np.float64]

_PERCENT = 95
_SLACK = 1e-6
_NAN = float("nan")


@dataclass(frozen=True)
class SurfaceScores:
    """Distances between two surfaces; the module says what is NaN.

    Attributes:
        hd_mm: Hausdorff distance, the largest one.
        hd95_mm: its 95th percentile.
        assd_mm: average symmetric surface distance.
        nsd: normalised surface Dice, the share of both surfaces that lies within the tolerance, 0 to 1.
    """

    hd_mm: float
    hd95_mm: float
    assd_mm: float
    nsd: float


def surface_scores(
    reference: NDArray[np.bool_],
    segmentation: NDArray[np.bool_],
    affine: Affine,
    tolerance_mm: float = 2.0,
    definition: Definition = "elements",
) -> SurfaceScores:
    """Compare the surfaces of two masks.

    Args:
        reference: (I, J, K) bool.
        segmentation: (I, J, K) bool.
        affine: (4, 4) voxel -> world millimetres.
        tolerance_mm: distance within which NSD counts a point as right, 0 or more.
        definition: what a surface is made of.

    Raises:
        ValueError: arrays of different shapes or not of three axes, a tolerance below 0, an unknown definition, or an
            affine that gives voxels no volume.
    """
    first, second = (np.asarray(mask, dtype=bool).view(np.uint8) for mask in (reference, segmentation))
    return label_surface_scores(first, second, 2, affine, [tolerance_mm], definition=definition)[0]


def label_surface_scores(
    reference: NDArray[Any],
    segmentation: NDArray[Any],
    num_classes: int,
    affine: Affine,
    tolerances_mm: Sequence[float],
    *,
    definition: Definition = "elements",
    ignore_index: int = IGNORE_INDEX,
) -> list[SurfaceScores]:
    """Compare the surfaces of every foreground class of two label maps.

    Memory and time go with the box around a class, not with the volume.

    Args:
        reference: (I, J, K) class indices; ``ignore_index`` marks voxels to leave out.
        segmentation: (I, J, K) class indices. A value that is no class belongs to none.
        num_classes: classes including background.
        affine: (4, 4) voxel -> world millimetres.
        tolerances_mm: one a foreground class.
        definition: what a surface is made of.
        ignore_index: value of the reference that is left out; a negative one leaves nothing out.

    Returns:
        One a foreground class, class 1 first.

    Raises:
        ValueError: as for ``surface_scores``; not one tolerance a foreground class; arrays that are not of integers.
    """
    _require(reference, segmentation, num_classes, affine, tolerances_mm, definition, ignore_index)
    boxes = [class_boxes(array, num_classes - 1) for array in (reference, segmentation)]
    # From here on axes are in the order of the reference's memory, usually K, J, I, and masks in C order.
    order = axes_in_memory(reference)
    reference, segmentation = reference.transpose(order), segmentation.transpose(order)
    grid = _Grid.of(affine[:3, :3][:, order], definition)
    scores = []
    for index, tolerance_mm in enumerate(tolerances_mm, start=1):
        box = united(boxes[0][index - 1], boxes[1][index - 1])
        if box is None:
            scores.append(SurfaceScores(_NAN, _NAN, _NAN, _NAN))
            continue
        box = tuple(box[axis] for axis in order)
        first = _surface(reference[box] == index, grid)
        second = _surface((segmentation[box] == index) & (reference[box] != ignore_index), grid)
        scores.append(_compare(first, second, tolerance_mm, grid))
    return scores


@dataclass(frozen=True, eq=False)
class _Grid:
    """What all classes share.

    Attributes:
        ball: the neighbours of a point.
        areas: of the surface element of every neighbourhood; None for voxels.
    """

    ball: Ball
    areas: Floats | None

    @staticmethod
    def of(linear: Floats, definition: Definition) -> _Grid:
        return _Grid(grid_ball(linear), element_areas_mm2(linear) if definition == "elements" else None)


@dataclass(frozen=True, eq=False)
class _Surface:
    """The points of a mask's surface.

    Attributes:
        points: (I, J, K) bool, the same size for both masks, empty at the far end of each axis.
        at: (N,) where they are in the flat array.
        weights: (N,) areas, or ones.
    """

    points: NDArray[np.bool_]
    at: NDArray[np.intp]
    weights: Floats


def _surface(mask: NDArray[np.bool_], grid: _Grid) -> _Surface:
    lengths = tuple(length + reach + 2 for length, reach in zip(mask.shape, grid.ball.reach, strict=True))
    padded = np.zeros(lengths, dtype=bool)
    padded[tuple(slice(1, length + 1) for length in mask.shape)] = mask
    if grid.areas is None:
        points = padded & ~_enclosed(padded)
        at = np.flatnonzero(points)
        return _Surface(points, at, np.ones(at.size))
    codes = neighbourhood_codes(padded)
    points = codes + np.uint8(1) > 1  # neither 0 nor 255
    at = np.flatnonzero(points)
    return _Surface(points, at, grid.areas[codes.reshape(-1)[at]])


def _enclosed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels whose six neighbours are all in the mask, which is empty at its border."""
    flat, result = mask.reshape(-1), mask.copy()
    enclosed = result.reshape(-1)
    for step in (1, mask.shape[2], mask.shape[1] * mask.shape[2]):
        enclosed[step:] &= flat[:-step]
        enclosed[:-step] &= flat[step:]
    return result


def _compare(reference: _Surface, segmentation: _Surface, tolerance_mm: float, grid: _Grid) -> SurfaceScores:
    if not reference.at.size or not segmentation.at.size:
        one = reference.at.size or segmentation.at.size
        return SurfaceScores(_NAN, _NAN, _NAN, nsd=0.0 if one else _NAN)
    sides = [
        (nearest_distances_mm(here.at, there.points, grid.ball), here.weights)
        for here, there in ((reference, segmentation), (segmentation, reference))
    ]
    percentile = _percentile if grid.areas is None else _weighted_percentile
    limit = tolerance_mm * (1 + _SLACK)
    total = sum(float(weights.sum()) for _, weights in sides)
    return SurfaceScores(
        hd_mm=float(max(distances.max() for distances, _ in sides)),
        hd95_mm=max(percentile(distances, weights) for distances, weights in sides),
        assd_mm=sum(float(distances @ weights) for distances, weights in sides) / total,
        nsd=sum(float(weights[distances <= limit].sum()) for distances, weights in sides) / total,
    )


def _percentile(distances: Floats, _: Floats) -> float:
    return float(np.percentile(distances, _PERCENT))


def _weighted_percentile(distances: Floats, weights: Floats) -> float:
    # Sorting only what is apart: most points lie on the other surface. What is reached but for rounding is reached.
    apart = distances > 0
    together = float(weights[~apart].sum())
    distances, weights = distances[apart], weights[apart]
    order = np.argsort(distances)
    area = np.concatenate([[together], together + np.cumsum(weights[order])])
    reached = int(np.searchsorted(area, area[-1] * (_PERCENT / 100) * (1 - 1e-9)))
    return float(distances[order[reached - 1]]) if reached else 0.0


def _require(
    reference: NDArray[Any],
    segmentation: NDArray[Any],
    num_classes: int,
    affine: Affine,
    tolerances_mm: Sequence[float],
    definition: str,
    ignore_index: int,
) -> None:
    if reference.shape != segmentation.shape or reference.ndim != 3:
        raise ValueError(f"expected arrays (I, J, K) of one shape, found {reference.shape} and {segmentation.shape}")
    for name, array in (("reference", reference), ("segmentation", segmentation)):
        if array.dtype.kind not in "iu":
            raise ValueError(f"the {name}: expected integers, found {array.dtype}")
    if definition not in ("elements", "voxels"):
        raise ValueError(f"expected the definition elements or voxels, found {definition!r}")
    if 0 <= ignore_index < num_classes:
        raise ValueError(f"expected an ignore_index beside the {num_classes} classes, found {ignore_index}")
    if len(tolerances_mm) != num_classes - 1:
        raise ValueError(
            f"expected a tolerance for each of {num_classes - 1} foreground classes, found {len(tolerances_mm)}"
        )
    if not all(np.isfinite(tolerance) and tolerance >= 0 for tolerance in tolerances_mm):
        raise ValueError(f"expected tolerances of 0 mm or more, found {list(tolerances_mm)}")
    if not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        raise ValueError(f"expected an affine of voxels with a volume, found {np.asarray(affine).tolist()}")
