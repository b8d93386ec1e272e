"""A study small enough for a page: about 300 kB of pictures instead of 60 MB of voxels.

Shown is what is labelled, with a margin (``scene.make_scene``). Image and labels are thinned out apart from each
other, each by a ladder of which the first step within its budget is taken:

- Labels come first. They keep the file's own voxels, or every second or third where there are too many: contours need
  finer voxels than the image does, and label maps compress well. Nothing is interpolated.
- The image takes what is left. It is averaged and resampled to cubes of 1 mm or more (never finer than its own voxels),
  companded to 8 bits (``intensity``) and compressed with loss (``mosaic``): a whole liver comes to 2 mm and 200 kB
  with a mean error of 7 HU in soft tissue, less than a CT's noise.

Which slice is the worst is counted on the file's own voxels, before any is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.reports.page.intensity import encode_hu
from medseg.reports.page.mosaic import lossless, lossy, size_bytes
from medseg.reports.scene import Scene, Voxels
from medseg.types import IGNORE_INDEX

BUDGET, LABEL_BUDGET = 280_000, 100_000
"""Bytes of a study before base64, and how many of them labels may take; 50 studies stay under 20 MB."""

_IMAGE_LADDER = (
    *((1.0, quality) for quality in (92, 80)),
    *((1.5, quality) for quality in (90, 80)),
    *((2.0, quality) for quality in (90, 80, 72, 65)),
    *((3.0, quality) for quality in (85, 75, 60)),
    *((4.0, quality) for quality in (80, 65)),
    (6.0, 50),
    (8.0, 40),
)
"""(mm, quality); the last is taken whatever it weighs."""

_LABEL_LADDER_MM = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_MOST_IMAGE_VOXELS, _MOST_LABEL_VOXELS = 3_000_000, 8_000_000
"""What a browser decodes in a fraction of a second, and a phone can hold."""


def pack(scene: Scene) -> dict[str, Any]:
    """What the viewer needs of a study, as plain JSON.

    Returns:
        ``shape`` and ``spacing`` (mm) of the scene in RAS order, ``affine`` (rows of voxel -> world mm), ``image`` and
        ``labels`` (``src``, ``columns`` of the mosaic, ``shape``; labels also ``step``: every how many voxels),
        ``reference`` (whether there is one), ``present`` (classes that occur), ``errors`` (wrong voxels for each slice
        of ``labels``, one list an axis) and ``worst`` (see ``worst_slices``).
    """
    labels = _fit_labels(scene)
    wrong = scene.errors()
    return {
        "shape": [int(size) for size in scene.image.shape],
        "spacing": [round(float(mm), 5) for mm in scene.spacing_mm],
        "affine": np.round(scene.affine[:3], 5).tolist(),
        "image": _fit_image(scene, BUDGET - size_bytes(labels["src"])),
        "labels": labels,
        "reference": scene.reference is not None,
        "present": _present(scene),
        "errors": [_profile(wrong, axis, step) for axis, step in enumerate(labels["step"])],
        "worst": worst_slices(scene),
    }


def worst_slices(scene: Scene) -> dict[str, list[int]]:
    """Class index (as text; "0": all classes together) -> the R, A and S voxel whose slice has the most wrong voxels.

    A class without an error is left out, and so is everything in a study without a reference.
    """
    if scene.reference is None:
        return {}
    wrong = scene.errors()
    if not wrong.any():
        return {}
    truth, segmentation, places = scene.reference[wrong], scene.segmentation[wrong], np.argwhere(wrong)
    busiest = {"0": _busiest(places)}
    for index in _present(scene):
        own = places[(truth == index) | (segmentation == index)]
        if own.size:
            busiest[str(index)] = _busiest(own)
    return busiest


def resample(image: Voxels, spacing_mm: NDArray[np.float64], target_mm: float) -> NDArray[np.float32]:
    """Average an image down to cubes of about ``target_mm`` that fill the same box; axes already coarser stay."""
    size = np.array(image.shape)
    shape = np.maximum(1, np.rint(size * spacing_mm / np.maximum(spacing_mm, target_mm))).astype(int)
    shape = np.minimum(shape, size)
    factors = size / shape
    sigmas = np.where(factors > 1.2, factors / 2.355, 0.0)  # full width at half maximum: one new voxel
    smooth = ndimage.gaussian_filter(np.asarray(image, dtype=np.float32), sigmas, truncate=2.0)
    if tuple(shape) == image.shape:
        return np.asarray(smooth)
    return np.asarray(ndimage.zoom(smooth, shape / size, order=1, grid_mode=True, mode="nearest"))


def _fit_image(scene: Scene, budget: int) -> dict[str, Any]:
    size, spacing = np.array(scene.image.shape), scene.spacing_mm
    packed: dict[str, Any] = {}
    codes, made_for = np.zeros(0, np.uint8), 0.0
    for target_mm, quality in _IMAGE_LADDER:
        voxels = np.prod(np.maximum(1, size * spacing / np.maximum(spacing, target_mm)))
        if voxels > _MOST_IMAGE_VOXELS and target_mm < _IMAGE_LADDER[-1][0]:
            continue
        if made_for != target_mm:
            codes, made_for = encode_hu(resample(scene.image, spacing, target_mm)), target_mm
        src, columns = lossy(codes, quality)
        packed = {"src": src, "columns": columns, "shape": [int(n) for n in codes.shape]}
        if size_bytes(src) <= budget:
            break
    return packed


def _fit_labels(scene: Scene) -> dict[str, Any]:
    packed: dict[str, Any] = {}
    steps = [tuple(max(1, int(mm / own + 1e-6)) for own in scene.spacing_mm) for mm in _LABEL_LADDER_MM]
    for step in dict.fromkeys(steps):
        segmentation = _thinned(scene.segmentation, step)
        if segmentation.size > _MOST_LABEL_VOXELS and step != steps[-1]:
            continue
        reference = np.zeros_like(segmentation) if scene.reference is None else _thinned(scene.reference, step)
        src, columns = lossless(reference, segmentation)
        packed = {"src": src, "columns": columns, "shape": list(segmentation.shape), "step": list(step)}
        if size_bytes(src) <= LABEL_BUDGET:
            break
    return packed


def _thinned(labels: NDArray[np.uint8], step: tuple[int, ...]) -> NDArray[np.uint8]:
    """The middle one of every ``step`` voxels along each axis, and one for what is left at the end."""
    for axis, (size, every) in enumerate(zip(labels.shape, step, strict=True)):
        labels = labels.take(np.minimum(np.arange(0, size, every) + every // 2, size - 1), axis=axis)
    return labels


def _present(scene: Scene) -> list[int]:
    counts = np.bincount(scene.segmentation.ravel(), minlength=256)
    if scene.reference is not None:
        counts += np.bincount(scene.reference.ravel(), minlength=256)
    return [int(index) for index in np.flatnonzero(counts) if index not in (0, IGNORE_INDEX)]


def _busiest(places: NDArray[np.int64]) -> list[int]:
    """For each axis the slice that holds the most of the voxels (n, 3); the lowest of equals."""
    return [int(np.bincount(places[:, axis]).argmax()) for axis in range(3)]


def _profile(wrong: NDArray[np.bool_], axis: int, step: int) -> list[int]:
    """Wrong voxels of each slice across ``axis``, ``step`` slices together."""
    counts = wrong.sum(axis=tuple(other for other in range(3) if other != axis))
    return [int(total) for total in np.add.reduceat(counts, np.arange(0, counts.size, step))]
