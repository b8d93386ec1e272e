"""The separate lesions of one class: where each lies, how large it is, how bright.

A lesion is a 26-connected component: voxels that share a face, an edge or a corner belong together. Its volume is that
of its voxels, and its longest diameter is the largest distance between two points of those same voxels, so from outer
corner to outer corner. That is where a reader puts the callipers, on the edges of what the viewer shows; a lesion on a
single slice keeps its thickness, one of a single voxel measures that voxel's diagonal and not 0, and no volume is
larger than a ball of the diameter. It is up to one voxel diagonal more than the distance between voxel centres, which
ITK calls the Feret diameter.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

from medseg.types import Affine, Grid

MAX_LESIONS = 1000
"""Lesions that a table lists; what lies beyond is noise, and is counted."""

_TOUCHING = np.ones((3, 3, 3), dtype=bool)
_CORNERS = np.array(list(product((0, 1), repeat=3)))
_PAIRS_AT_A_TIME = 1 << 20


@dataclass(frozen=True)
class Lesion:
    """One 26-connected component.

    Attributes:
        index: 1 for the largest of the table.
        centre_mm: mean of its voxel centres in world millimetres, RAS+ (of a crescent it may lie outside).
        voxels: how many.
        volume_ml: voxels times the volume of one, in millilitres.
        longest_diameter_mm: largest distance between outer corners of its voxels; see the module.
        mean_hu: mean of the image over its voxels; None without an image.
        mean_uncertainty: mean uncertainty over its voxels, in [0, 1]; None without an uncertainty.
    """

    index: int
    centre_mm: tuple[float, float, float]
    voxels: int
    volume_ml: float
    longest_diameter_mm: float
    mean_hu: float | None = None
    mean_uncertainty: float | None = None


@dataclass(frozen=True)
class LesionTable:
    """The lesions of one class.

    Attributes:
        count: how many there are, listed or not.
        lesions: the largest of them, largest first; of equal ones, the first by i, then j, then k.
    """

    count: int
    lesions: tuple[Lesion, ...]


def lesion_table(
    mask: NDArray[Any],
    affine: Affine,
    *,
    image: NDArray[Any] | None = None,
    uncertainty: NDArray[np.uint8] | None = None,
    limit: int = MAX_LESIONS,
) -> LesionTable:
    """Find and measure the lesions of a mask.

    Memory and time go with the box around the mask: cut large volumes to it, and move the affine's origin along.

    Args:
        mask: (I, J, K) bool, or integers of which all but 0 belong.
        affine: (4, 4) voxel -> world millimetres, RAS+; oblique and sheared ones are fine.
        image: (I, J, K) HU.
        uncertainty: (I, J, K) uint8, the uncertainty in [0, 1] times 255.
        limit: lesions to list.

    Returns:
        An empty table for an empty mask.

    Raises:
        ValueError: arrays of different shapes, or not of three axes.
    """
    shapes = {array.shape for array in (mask, image, uncertainty) if array is not None}
    if len(shapes) > 1 or mask.ndim != 3:
        raise ValueError(f"expected arrays (I, J, K) of one shape, found {', '.join(map(str, sorted(shapes)))}")
    return measure_lesions(lesion_components(mask), affine, image=image, uncertainty=uncertainty, limit=limit)


def lesion_components(mask: NDArray[Any]) -> NDArray[np.int32]:
    """Number the lesions of a mask from 1, the largest, on; of equal ones, the first by i, then j, then k comes first.

    Args:
        mask: (I, J, K) bool, or integers of which all but 0 belong.
    """
    components, count = ndimage.label(mask, structure=_TOUCHING)
    sizes = np.bincount(components.ravel(order="K"), minlength=count + 1)[1:]
    by_size = np.zeros(count + 1, dtype=np.int32)
    by_size[np.argsort(-sizes, kind="stable") + 1] = np.arange(1, count + 1)
    numbered: NDArray[np.int32] = by_size[components]
    return numbered


def measure_lesions(
    components: NDArray[np.int32],
    affine: Affine,
    *,
    image: NDArray[Any] | None = None,
    uncertainty: NDArray[np.uint8] | None = None,
    limit: int | None = MAX_LESIONS,
) -> LesionTable:
    """Measure the lesions that ``lesion_components`` numbered; arguments as for ``lesion_table``, None lists all."""
    boxes = ndimage.find_objects(components)
    lesions = []
    for index, box in enumerate(boxes[:limit], start=1):
        inside = components[box] == index
        hu = None if image is None else float(image[box][inside].mean(dtype=np.float64))
        doubt = None if uncertainty is None else float(uncertainty[box][inside].mean(dtype=np.float64)) / 255
        lesions.append(_measured(index, inside, [axis.start for axis in box], affine, hu, doubt))
    return LesionTable(len(boxes), tuple(lesions))


def longest_diameter_mm(mask: NDArray[np.bool_], affine: Affine) -> float:
    """Largest distance in mm between outer corners of the voxels of a mask (I, J, K), connected or not; 0 for none.

    Args:
        mask: (I, J, K).
        affine: (4, 4) voxel -> world millimetres.
    """
    some = mask.any(axis=2)
    if not some.any():
        return 0.0
    # A corner that lies between two others of its line is no corner of the convex hull: keep the ends of every line.
    first, last = mask.argmax(axis=2)[some], mask.shape[2] - 1 - mask[:, :, ::-1].argmax(axis=2)[some]
    voxels = np.concatenate([np.column_stack([np.argwhere(some), end]) for end in (first, last)])
    voxels = _ends_of_lines(_ends_of_lines(voxels, 0), 1)
    corners = np.unique((voxels[:, None, :] + _CORNERS).reshape(-1, 3), axis=0)
    # An affine keeps a hull a hull, and voxels have a volume, so there is no flat case.
    hull = corners[ConvexHull(corners).vertices]
    return _largest_distance((hull - hull[0]) @ affine[:3, :3].T)


def _measured(
    index: int,
    inside: NDArray[np.bool_],
    start: list[int],
    affine: Affine,
    mean_hu: float | None,
    mean_uncertainty: float | None,
) -> Lesion:
    voxels = int(np.count_nonzero(inside))
    centre = [
        first + inside.sum(axis=others) @ np.arange(inside.shape[axis]) / voxels
        for axis, (first, others) in enumerate(zip(start, ((1, 2), (0, 2), (0, 1)), strict=True))
    ]
    x, y, z = affine[:3, :3] @ centre + affine[:3, 3]
    return Lesion(
        index=index,
        centre_mm=(float(x), float(y), float(z)),
        voxels=voxels,
        volume_ml=voxels * Grid((1, 1, 1), affine).voxel_ml,
        longest_diameter_mm=longest_diameter_mm(inside, affine),
        mean_hu=mean_hu,
        mean_uncertainty=mean_uncertainty,
    )


def _ends_of_lines(voxels: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
    """Of the voxels on each line along ``axis``, the first and the last."""
    a, b = (other for other in range(3) if other != axis)
    voxels = voxels[np.lexsort((voxels[:, axis], voxels[:, b], voxels[:, a]))]
    new_line = np.any(np.diff(voxels[:, (a, b)], axis=0), axis=1)
    return voxels[np.concatenate(([True], new_line)) | np.concatenate((new_line, [True]))]


def _largest_distance(points: NDArray[np.float64]) -> float:
    step = max(1, _PAIRS_AT_A_TIME // len(points))
    squared = (
        ((points[start : start + step, None, :] - points[None, :, :]) ** 2).sum(axis=2).max()
        for start in range(0, len(points), step)
    )
    return float(np.sqrt(max(squared)))
