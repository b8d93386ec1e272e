"""Label values -> class indices: background 0, classes 1, 2, ... in the order of the label map, ignore 255.

Whole numbers go through a lookup table, a few million voxels at a time, so a uint8 map costs no wide copy of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import LabelError
from medseg.types import LabelMap

FRACTION_TOLERANCE = 1e-3
"""Distance from a whole number that still is one: a scale factor in float32 turns 2 into 2.0000001."""

_CHUNK = 1 << 22
_WIDEST_TABLE = 1 << 20
_MOST_LISTED = 12


def apply_label_map(values: NDArray[Any], label_map: LabelMap, what: str) -> NDArray[np.uint8]:
    """Turn label values into class indices.

    Args:
        values: label map as stored, any shape; bool, integers, or floats that are whole numbers.
        label_map: which value is which class, what to ignore, what is background.
        what: names the file or study in messages.

    Returns:
        uint8 array of the same shape and memory order; ``IGNORE_INDEX`` where the value is to be ignored. An empty
        array gives an empty array.

    Raises:
        LabelError: fractions, NaN, or values that the label map does not name; the message counts them. A label map
            that names segments, which only a DICOM-SEG has.
    """
    _require_numbers(label_map, what)
    whole = _whole(values, what)
    if whole.size == 0:
        return np.zeros(values.shape, np.uint8)
    candidates, codes_of = _codes(whole)
    table, named = _table(candidates, label_map)
    if not named.all():
        counts = _counts(whole, candidates, codes_of)
        _refuse_unnamed(
            {int(v): int(c) for v, c in zip(candidates[~named], counts[~named], strict=True) if c}, label_map, what
        )
    classes = np.empty(whole.size, np.uint8)
    for start, chunk in _chunks(whole):
        classes[start : start + chunk.size] = table[codes_of(chunk)]
    return classes.reshape(values.shape, order=_order(values))


def count_values(values: NDArray[Any], what: str) -> dict[int, int]:
    """Each value of a label map and its number of voxels, in ascending order; {} for an empty array.

    Raises:
        LabelError: fractions or NaN.
    """
    whole = _whole(values, what)
    if whole.size == 0:
        return {}
    candidates, codes_of = _codes(whole)
    return {int(v): int(c) for v, c in zip(candidates, _counts(whole, candidates, codes_of), strict=True) if c}


def _require_numbers(label_map: LabelMap, what: str) -> None:
    names = [repr(value) for _, values in label_map.indices for value in values if isinstance(value, str)]
    if names:
        raise LabelError(
            f"{what}: expected a DICOM-SEG, whose segments have names, for the label map names {', '.join(names)}; "
            "this label holds numbers: give the classes' numbers, in a label map of its own (`data.label_maps`) where "
            "other studies have a DICOM-SEG"
        )


def _whole(values: NDArray[Any], what: str) -> NDArray[Any]:
    """The values as integers; floats are accepted when they are whole."""
    if values.dtype == bool:
        return values.view(np.uint8)
    if values.dtype.kind != "f":
        return values
    rounded: NDArray[Any] = np.rint(values)
    with np.errstate(invalid="ignore"):
        wrong = ~(np.abs(values - rounded) <= FRACTION_TOLERANCE)  # true for NaN and infinity as well
    if wrong.any():
        raise LabelError(
            f"{what}: expected whole numbers as labels, found {int(wrong.sum())} of {values.size} voxels with "
            f"fractions such as {values[wrong][0]:g}; a label map must be resampled with nearest neighbour"
        )
    return rounded.astype(np.int64)


def _codes(whole: NDArray[Any]) -> tuple[NDArray[Any], Callable[[NDArray[Any]], NDArray[Any]]]:
    """Candidate values in ascending order, and a function from values to places among them."""
    low, high = int(whole.min()), int(whole.max())
    if high - low < _WIDEST_TABLE:
        return np.arange(low, high + 1), lambda chunk: chunk.astype(np.intp) - low
    candidates = np.unique(whole)
    return candidates, lambda chunk: np.searchsorted(candidates, chunk)


def _table(candidates: NDArray[Any], label_map: LabelMap) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Class index of each candidate value, and whether the label map names it."""
    table = np.zeros(len(candidates), np.uint8)
    named = np.full(len(candidates), label_map.rest_is_background)
    for index, values in ((0, (0,)), *label_map.indices):
        places = np.isin(candidates, values)
        table[places], named[places] = index, True
    return table, named


def _counts(
    whole: NDArray[Any], candidates: NDArray[Any], codes_of: Callable[[NDArray[Any]], NDArray[Any]]
) -> NDArray[np.int64]:
    counts = np.zeros(len(candidates), np.int64)
    for _, chunk in _chunks(whole):
        counts += np.bincount(codes_of(chunk), minlength=len(candidates))
    return counts


def _order(values: NDArray[Any]) -> Any:
    return "F" if values.flags.f_contiguous else "C"


def _chunks(values: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    flat = values.reshape(-1, order=_order(values))
    for start in range(0, flat.size, _CHUNK):
        yield start, flat[start : start + _CHUNK]


def _refuse_unnamed(unnamed: dict[int, int], label_map: LabelMap, what: str) -> None:
    if not unnamed:
        return
    listed = ", ".join(f"{value} ({count} voxels)" for value, count in list(unnamed.items())[:_MOST_LISTED])
    more = f" and {len(unnamed) - _MOST_LISTED} more" if len(unnamed) > _MOST_LISTED else ""
    known = ", ".join(f"{name}: {list(values)}" for name, values in label_map.classes.items())
    name, values = next(iter(label_map.classes.items()), ("liver", (1,)))
    first = next(iter(unnamed))
    raise LabelError(
        f"{what}: found label values that the pipeline does not name: {listed}{more}; it names {known}. "
        f"Merge them into a class (`labels: {{{name}: {[*values, first]}}}`), leave them out of training and scoring "
        f"(`ignore: [{first}]`), or take them as background (`background: [{first}]`; `background: rest` "
        "takes every value that nothing names)"
    )
