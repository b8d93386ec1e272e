"""What a segmentation measures: volumes, HU and lesions of one study, as a document for JSON.

Everything is measured on the study's own grid. The document holds the study's id and numbers: no patient, no path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.errors import ConfigError, GeometryError
from medseg.inference.result import Segmentation
from medseg.metrics.lesions import lesion_table
from medseg.study.geometry import orientation
from medseg.types import Volume

FORMAT = "medseg-study/1"
"""First entry of every document; the number grows when an entry changes its meaning."""

_DECIMALS = 6
"""Kept of every measurement: a millionth of a ml is less than the smallest CT voxel."""

Box = tuple[slice, slice, slice]


def measure(
    segmentation: Segmentation, image: Volume, study_id: str, *, lesions: Sequence[str] = (), model: str = ""
) -> dict[str, Any]:
    """Measure one study.

    Args:
        segmentation: on the image's grid.
        image: HU.
        study_id: the study.
        lesions: classes whose 26-connected components are listed one by one, see ``metrics.lesions``.
        model: the model's name or hash, as it is to stand in the document.

    Returns:
        A document that ``json.dumps(..., allow_nan=False)`` takes:

            format, study_id, model
            grid      {shape, spacing_mm, orientation}, along I, J, K
            labels    {"1": "liver"}, the values of the label map
            classes   one a class, in class order, absent ones too: {name, value, voxels, volume_ml, mean_hu, sd_hu,
                      touches_border, mean_uncertainty}; the means and the (population) sd are None where there are no
                      voxels, mean_uncertainty where there is no uncertainty; touches_border: it may go on outside
            lesions   {class name: {count, lesions: [{index, centre_mm (R, A, S), voxels, volume_ml,
                      longest_diameter_mm, mean_hu, mean_uncertainty}]}}, largest first, at most 1000
            notes     the segmentation's

    Raises:
        ConfigError: ``lesions`` names no class of the model.
        GeometryError: segmentation and image have different shapes.
    """
    require_classes(lesions, segmentation.class_names)
    classes, names, grid = segmentation.classes, segmentation.class_names, image.grid
    if not classes.shape == image.voxels.shape == grid.shape:
        raise GeometryError(
            f"study {study_id}: expected a segmentation of the image's shape {grid.shape}, found {classes.shape}"
        )
    boxes = _boxes(classes, len(names))
    document = {
        "format": FORMAT,
        "study_id": study_id,
        "model": model,
        "grid": {"shape": grid.shape, "spacing_mm": grid.spacing_mm, "orientation": orientation(grid.affine)},
        "labels": {str(c): name for c, name in enumerate(names, start=1)},
        "classes": _class_rows(segmentation, image, boxes),
        "lesions": {
            name: _lesions(segmentation, image, names.index(name) + 1, boxes[names.index(name)]) for name in lesions
        },
        "notes": list(segmentation.notes),
    }
    return dict(_rounded(document))


def require_classes(wanted: Sequence[str], class_names: Sequence[str]) -> None:
    """Refuse names that are no class of the model; worth asking once before a batch.

    Raises:
        ConfigError: the message names them and the model's classes.
    """
    unknown = [name for name in wanted if name not in class_names]
    if unknown:
        raise ConfigError(
            f"lesions: expected classes of the model ({', '.join(class_names)}), found {', '.join(unknown)}"
        )


def _boxes(classes: NDArray[np.uint8], num_names: int) -> list[Box | None]:
    """The box around each class, in class order; None for one that is absent."""
    if not classes.flags.f_contiguous:
        return list(ndimage.find_objects(classes, max_label=num_names))
    # scipy walks along the last axis; the other way round it is four times faster in this memory order
    return [box and (box[2], box[1], box[0]) for box in ndimage.find_objects(classes.T, max_label=num_names)]


def _around(boxes: Sequence[Box | None]) -> Box:
    """The box around all boxes."""
    present = [box for box in boxes if box is not None]
    i, j, k = (
        slice(min((box[axis].start for box in present), default=0), max((box[axis].stop for box in present), default=0))
        for axis in range(3)
    )
    return i, j, k


def _class_rows(segmentation: Segmentation, image: Volume, boxes: Sequence[Box | None]) -> list[dict[str, Any]]:
    names, inner = segmentation.class_names, _around(boxes)
    classes = segmentation.classes[inner]
    doubts: list[float | None] = [None] * (len(names) + 1)
    if segmentation.uncertainty is not None:
        means = [mean for _, mean, _ in _statistics(classes, segmentation.uncertainty[inner], len(names))]
        doubts = [None if mean is None else mean / 255 for mean in means]
    hu = _statistics(classes, image.voxels[inner], len(names))
    return [
        {
            "name": name,
            "value": c,
            "voxels": hu[c][0],
            "volume_ml": hu[c][0] * image.grid.voxel_ml,
            "mean_hu": hu[c][1],
            "sd_hu": hu[c][2],
            "touches_border": box is not None and _touches(box, image.grid.shape),
            "mean_uncertainty": doubts[c],
        }
        for c, (name, box) in enumerate(zip(names, boxes, strict=True), start=1)
    ]


def _statistics(
    classes: NDArray[np.uint8], values: NDArray[Any], num_names: int
) -> list[tuple[int, float | None, float | None]]:
    """Voxels, mean and population standard deviation of each class, background first (and not looked at)."""
    count, total, squares = (np.zeros(256) for _ in range(3))
    for inside, of_them in _foreground(classes, values):
        count += np.bincount(inside, minlength=256)
        total += np.bincount(inside, of_them, minlength=256)
        squares += np.bincount(inside, of_them**2, minlength=256)
    rows: list[tuple[int, float | None, float | None]] = []
    for n, one, two in zip(*(array[: num_names + 1].tolist() for array in (count, total, squares)), strict=True):
        rows.append((int(n), one / n, max(0.0, two / n - (one / n) ** 2) ** 0.5) if n else (0, None, None))
    return rows


def _foreground(
    classes: NDArray[np.uint8], values: NDArray[Any]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """Classes and values of the voxels that are no background, a slice at a time along the longest stride."""
    axis = int(np.argmax(np.abs(classes.strides)))
    for one, of_it in zip(np.moveaxis(classes, axis, 0), np.moveaxis(values, axis, 0), strict=True):
        inside = one > 0
        if inside.any():
            yield one[inside], of_it[inside].astype(np.float64)


def _touches(box: Box, shape: tuple[int, ...]) -> bool:
    return any(axis.start == 0 or axis.stop == size for axis, size in zip(box, shape, strict=True))


def _lesions(segmentation: Segmentation, image: Volume, c: int, box: Box | None) -> dict[str, Any]:
    if box is None:
        return {"count": 0, "lesions": []}
    affine = image.grid.affine.copy()
    affine[:, 3] = image.grid.affine @ (*(axis.start for axis in box), 1)
    table = lesion_table(
        segmentation.classes[box] == c,
        affine,
        image=image.voxels[box],
        uncertainty=None if segmentation.uncertainty is None else segmentation.uncertainty[box],
    )
    return {"count": table.count, "lesions": [asdict(lesion) for lesion in table.lesions]}


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return round(value, _DECIMALS)
        case dict():
            return {key: _rounded(one) for key, one in value.items()}
        case list() | tuple():
            return [_rounded(one) for one in value]
        case _:
            return value
