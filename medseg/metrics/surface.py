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
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from medseg.metrics.surface_elements import element_areas_mm2, neighbourhood_codes
from medseg.types import IGNORE_INDEX, Affine

Definition = Literal["elements", "voxels"]
"""What a surface is made of; see the module."""

Box: TypeAlias = tuple[slice, ...]
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


@dataclass(frozen=True)
class _Surface:
    """Points of a surface on the grid of a box.

    Attributes:
        at: (N,) indices into the flat box, ascending.
        weights: (N,) areas, or ones.
    """

    at: NDArray[np.intp]
    weights: Floats


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
    boxes = [_boxes(array, num_classes) for array in (reference, segmentation)]
    ignored = ignore_index >= 0 and bool((reference == ignore_index).any())
    scores = []
    for index, tolerance_mm in enumerate(tolerances_mm, start=1):
        box = _union(boxes[0][index - 1], boxes[1][index - 1])
        if box is None:
            scores.append(SurfaceScores(_NAN, _NAN, _NAN, _NAN))
            continue
        masks = [np.pad(array[box] == index, 1) for array in (reference, segmentation)]
        if ignored:
            masks[1] &= ~np.pad(reference[box] == ignore_index, 1)
        scores.append(_compare(masks[0], masks[1], affine, tolerance_mm, definition))
    return scores


def _compare(
    reference: NDArray[np.bool_],
    segmentation: NDArray[np.bool_],
    affine: Affine,
    tolerance_mm: float,
    definition: Definition,
) -> SurfaceScores:
    """Two masks of one box, with a border of False."""
    areas = element_areas_mm2(affine) if definition == "elements" else None
    ours, theirs = (_surface(mask, areas) for mask in (reference, segmentation))
    shape = tuple(length - 1 for length in reference.shape) if definition == "elements" else reference.shape
    if not ours.at.size or not theirs.at.size:
        one = ours.at.size or theirs.at.size
        return SurfaceScores(_NAN, _NAN, _NAN, nsd=0.0 if one else _NAN)
    sides = [(_distances(a.at, b.at, shape, affine), a.weights) for a, b in ((ours, theirs), (theirs, ours))]
    percentile = _weighted_percentile if definition == "elements" else _percentile
    limit = tolerance_mm * (1 + _SLACK)
    total = sum(float(weights.sum()) for _, weights in sides)
    return SurfaceScores(
        hd_mm=float(max(distances.max() for distances, _ in sides)),
        hd95_mm=max(percentile(distances, weights) for distances, weights in sides),
        assd_mm=sum(float(distances @ weights) for distances, weights in sides) / total,
        nsd=sum(float(weights[distances <= limit].sum()) for distances, weights in sides) / total,
    )


def _surface(mask: NDArray[np.bool_], areas: Floats | None) -> _Surface:
    if areas is not None:
        codes = neighbourhood_codes(mask).ravel()
        at = np.flatnonzero((codes != 0) & (codes != 255))
        return _Surface(at, areas[codes[at]])
    at = np.flatnonzero(mask & ~ndimage.binary_erosion(mask))
    return _Surface(at, np.ones(at.size))


def _distances(source: NDArray[np.intp], target: NDArray[np.intp], shape: tuple[int, ...], affine: Affine) -> Floats:
    """Distance in mm of every source point to the nearest target point."""
    distances = np.zeros(source.size)
    apart = ~np.isin(source, target, assume_unique=True)
    if apart.any():
        tree = cKDTree(_world(target, shape, affine), leafsize=32, balanced_tree=False, compact_nodes=False)
        distances[apart] = tree.query(_world(source[apart], shape, affine))[0]
    return distances


def _world(at: NDArray[np.intp], shape: tuple[int, ...], affine: Affine) -> Floats:
    """Millimetres from the box's first voxel, (N, 3)."""
    return np.asarray(np.column_stack(np.unravel_index(at, shape)) @ affine[:3, :3].T, dtype=np.float64)


def _percentile(distances: Floats, _: Floats) -> float:
    return float(np.percentile(distances, _PERCENT))


def _weighted_percentile(distances: Floats, weights: Floats) -> float:
    order = np.argsort(distances, kind="stable")
    area = np.cumsum(weights[order])
    return float(distances[order[np.searchsorted(area, area[-1] * (_PERCENT / 100))]])


def _boxes(array: NDArray[Any], num_classes: int) -> list[Box | None]:
    found: list[Box | None] = ndimage.find_objects(array, max_label=num_classes - 1)
    return found


def _union(a: Box | None, b: Box | None) -> Box | None:
    if a is None or b is None:
        return a or b
    return tuple(slice(min(p.start, q.start), max(p.stop, q.stop)) for p, q in zip(a, b, strict=True))


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
