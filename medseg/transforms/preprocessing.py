"""The one deterministic chain of training, validation and inference: RAS, crop to body, resample, window.

The chain is written as functions on arrays rather than as MONAI dictionary transforms because it must also run in an
inference process that never pays MONAI's import, and because every step here knows its exact inverse; MONAI's
Orientation and Spacing are the oracle in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from medseg.errors import GeometryError
from medseg.study.geometry import reorient
from medseg.transforms.resampling import (
    Axes,
    Axis,
    linear_positions,
    resample_classes,
    resample_image,
    resampled_affine,
    resampled_shape,
)
from medseg.transforms.settings import Preprocessing
from medseg.types import Affine, Grid, Shape3, Volume

Crop = tuple[slice, slice, slice]
"""A box of an (I, J, K) array."""

BODY_THRESHOLD_HU = -300.0
"""Between air and lung (below) and fat (above)."""

_BODY_STEP = 4
"""The body is looked for on every fourth voxel of each axis."""

_BODY_SHARE = 0.25
"""Of the largest region's voxels: from it on a region can be a part of the body too, such as the second leg."""

_TABLE_VOXELS = 3
"""Half of the thickness, in voxels looked at, that makes a region more than a table."""

_IN_PLANE = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)[..., None]

_BODY_MARGIN = 4
"""Voxels kept around the body's box."""

_MOST_GROWTH = 64
"""Times as many voxels as before that resampling may make: slices of 30 mm become 24 times as many."""

_MOST_VOXELS = 2**30
"""Voxels that resampling may make of a smaller grid: 4 GiB of float32."""

_FREE_VOXELS = 2**26
"""Voxels that it may make of any grid: 256 MiB."""

_MOST_IN_ONE = 64
"""Voxels that may end as one: a study of more is thousands of times smaller than a body."""


@dataclass(frozen=True, eq=False)
class Preprocessed:
    """A study on the network grid, and what is needed to go back.

    Attributes:
        image: (I', J', K') float32 in [0, 1], RAS.
        grid: the network grid.
        native: the study's own grid.
        ras_shape: the native shape in RAS order.
        crop: slices of the RAS-ordered native array that the network grid covers.
        axes: where the voxels of the crop lie on the network grid; None is edge to edge.
    """

    image: Tensor
    grid: Grid
    native: Grid
    ras_shape: Shape3
    crop: Crop
    axes: Axes | None = None


def preprocess(image: Volume, settings: Preprocessing) -> Preprocessed:
    """Bring a study to the network grid.

    Args:
        image: voxels in HU on the study's own grid.
        settings: the chain's settings.

    Returns:
        The image in [0, 1] on the network grid and the way back. A study without any body keeps its whole box.

    Raises:
        GeometryError: a spacing with which the network grid would be absurdly large, or a single voxel.
    """
    voxels, affine = reorient(image.voxels, image.grid.affine)
    if settings.convention == "monai":
        return _as_monai(voxels, affine, image.grid, settings)
    crop = body_box(voxels) if settings.crop_to_body else _whole(voxels)
    cropped = Grid(_extent(crop), _shifted(affine, crop))
    target = resampled_shape(cropped, settings.spacing_mm)
    _check_size(cropped, target)
    resampled = resample_image(_tensor(voxels[crop]), target, antialias=settings.antialias)
    return Preprocessed(
        image=_window(resampled, settings.intensity_range_hu),
        grid=Grid(target, resampled_affine(cropped, target)),
        native=image.grid,
        ras_shape=_extent(_whole(voxels)),
        crop=crop,
    )


def network_box(study: Preprocessed, box: Crop) -> Crop:
    """The network voxels that decide a part of the study.

    Args:
        study: what ``preprocess`` returned.
        box: slices of the RAS-ordered native array; what lies beyond ``study.crop`` is left out.

    Returns:
        Slices of the network grid, at least one voxel along each axis.
    """
    i, j, k = (
        _deciding(part, crop, length, axis)
        for part, crop, length, axis in zip(box, study.crop, study.grid.shape, study.axes or (None,) * 3, strict=True)
    )
    return i, j, k


def _deciding(part: slice, crop: slice, length: int, axis: Axis | None) -> slice:
    extent = crop.stop - crop.start
    below, _ = linear_positions(length, extent, axis)
    first = min(max(part.start - crop.start, 0), extent - 1)
    last = min(max(part.stop - crop.start - 1, first), extent - 1)
    return slice(int(below[first]), min(int(below[last]) + 2, length))


def preprocess_label(label: Volume, like: Preprocessed, settings: Preprocessing) -> Tensor:
    """Bring class indices (uint8) to the network grid of their preprocessed image; returns (I', J', K') uint8."""
    voxels, _ = reorient(label.voxels, label.grid.affine)
    crop = _tensor(voxels[like.crop])
    antialias = settings.antialias and settings.convention == "medseg"  # MONAI's never averages
    return resample_classes(crop, like.grid.shape, antialias=antialias, axes=like.axes)


def _as_monai(voxels: NDArray[Any], affine: Affine, native: Grid, settings: Preprocessing) -> Preprocessed:
    """As MONAI's Spacing, ScaleIntensityRange and CropForeground: for models that were trained behind them.

    The first voxels' centres coincide, and what is cropped to is whatever exceeds the intensity range's lower end,
    tables and tubes included.
    """
    ras = Grid(_extent(_whole(voxels)), affine)
    wanted = settings.spacing_mm or (None, None, None)
    i, j, k = (own / (mm or own) for own, mm in zip(ras.spacing_mm, wanted, strict=True))
    ratios, axes = (i, j, k), (Axis(i, 0.0), Axis(j, 0.0), Axis(k, 0.0))
    shape = _three(round((n - 1) * ratio + 1) for n, ratio in zip(ras.shape, ratios, strict=True))
    image = _window(resample_image(_tensor(voxels), shape, antialias=False, axes=axes), settings.intensity_range_hu)
    box = _box_of((image > 0).numpy()) if settings.crop_to_body else _whole(image.numpy())
    network_affine = _shifted(affine @ np.diag([*(1.0 / ratio for ratio in ratios), 1.0]), box)
    crop = [_covered(b, ratio, n, own) for b, ratio, n, own in zip(box, ratios, shape, ras.shape, strict=True)]
    moved = [Axis(ratio, c.start * ratio - b.start) for ratio, c, b in zip(ratios, crop, box, strict=True)]
    return Preprocessed(
        image=image[box].contiguous(),
        grid=Grid(_extent(box), network_affine),
        native=native,
        ras_shape=ras.shape,
        crop=(crop[0], crop[1], crop[2]),
        axes=(moved[0], moved[1], moved[2]),
    )


def _three(numbers: Iterable[int]) -> Shape3:
    i, j, k = numbers
    return i, j, k


def _box_of(mask: NDArray[np.bool_]) -> Crop:
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    return boxes[0] if boxes else _whole(mask)


def _covered(box: slice, ratio: float, length: int, native: int) -> slice:
    """The native voxels less than a network voxel away from a range of them; beyond the network's end all that follow.

    MONAI pads what it cropped with zeros before it interpolates: scores fall, and keep their order, for one voxel.
    """
    first = max(0, int(np.floor((box.start - 1) / ratio + 1e-6)) + 1)
    last = native if box.stop == length else int(np.ceil(box.stop / ratio - 1e-6))
    return slice(first, max(first + 1, min(native, last)))


def body_box(voxels: NDArray[Any]) -> Crop:
    """Box around the body, with a small margin: connected regions above ``BODY_THRESHOLD_HU`` that are no table.

    The largest region, and others that are not much smaller: two legs are two regions.

    Args:
        voxels: (I, J, K) in HU.

    Returns:
        Slices along I, J, K; the whole array if nothing exceeds the threshold.
    """
    step = tuple(min(_BODY_STEP, max(1, n // 16)) for n in voxels.shape)
    coarse = voxels[:: step[0], :: step[1], :: step[2]] > BODY_THRESHOLD_HU
    regions, count = ndimage.label(coarse)
    if count == 0:
        return _whole(voxels)
    box = ndimage.find_objects(_body(regions).astype(np.uint8))[0]
    i, j, k = (
        slice(max(0, s.start * d - _BODY_MARGIN), min(n, s.stop * d + _BODY_MARGIN))
        for s, d, n in zip(box, step, voxels.shape, strict=True)
    )
    return i, j, k


def _check_size(native: Grid, target: Shape3) -> None:
    """Refuse a spacing that is a mistake before it costs the memory of everything else on the machine."""
    voxels, resampled = math.prod(native.shape), math.prod(target)
    most = max(voxels, _FREE_VOXELS, min(_MOST_GROWTH * voxels, _MOST_VOXELS))
    if resampled <= most and not (resampled == 1 and voxels > _MOST_IN_ONE):
        return
    size, spacing = (
        " x ".join(f"{value:.4g}" for value in values)
        for values in (np.multiply(native.shape, native.spacing_mm), native.spacing_mm)
    )
    before, after = ("x".join(map(str, shape)) for shape in (native.shape, target))
    raise GeometryError(
        f"expected a study of a body's size, found {size} mm (spacing {spacing} mm), which resampling would take from "
        f"{before} to {after} voxels; repair the spacing in the file's header"
    )


def _body(regions: NDArray[np.int32]) -> NDArray[np.bool_]:
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    largest = int(sizes.argmax())
    body: NDArray[np.bool_] = regions == largest
    for other in np.flatnonzero(sizes >= sizes[largest] * _BODY_SHARE):
        mask = regions == other
        if other != largest and ndimage.binary_erosion(mask, _IN_PLANE, iterations=_TABLE_VOXELS).any():
            body |= mask
    return body


def _window(image: Tensor, intensity_range_hu: tuple[float, float]) -> Tensor:
    low, high = intensity_range_hu
    return image.sub_(low).div_(high - low).clamp_(0.0, 1.0)


def _tensor(voxels: NDArray[np.generic]) -> Tensor:
    # torch knows neither negative strides nor big-endian numbers nor unsigned 16/32 bits
    if any(s < 0 for s in voxels.strides) or not voxels.flags.aligned:
        voxels = np.ascontiguousarray(voxels)
    if voxels.dtype in (np.uint16, np.uint32) or not voxels.dtype.isnative:
        voxels = voxels.astype(np.float32)
    return torch.from_numpy(voxels)


def _whole(voxels: NDArray[np.generic]) -> Crop:
    i, j, k = (slice(0, n) for n in voxels.shape)
    return i, j, k


def _extent(crop: Crop) -> Shape3:
    i, j, k = (s.stop - s.start for s in crop)
    return i, j, k


def _shifted(affine: NDArray[np.float64], crop: Crop) -> NDArray[np.float64]:
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ np.asarray([s.start for s in crop], dtype=float)
    return moved
