"""How the slices of a DICOM series lie in space, and whether they make one volume.

Positions and directions are the headers' own, in LPS+ millimetres; the affine that comes out is RAS+. Distances are
measured between slice positions (ImagePositionPatient), never taken from SliceThickness, which differs from them
wherever slices overlap or have gaps (DICOM PS3.3 C.7.6.2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryError, StudyError
from medseg.study.dicom.header import Header
from medseg.study.geometry import GRID_TOLERANCE_MM
from medseg.types import Affine

_TOLERANCE_MM = 0.05
_TOLERANCE_SHARE = 0.01
"""How far a slice may lie from its place on the even grid: the larger of 0.05 mm (positions are written with one or
two decimals) and 1 % of the distance between slices."""

_SAME_POSITION_MM = 0.02
"""Below this, two slices are at one position; CT slices are 0.1 mm apart or more."""

_SAME_DIRECTION = 2e-4
_SAME_SPACING = 2e-4
"""Direction cosines and (relative) pixel spacings that differ by less move no voxel of a 500 mm image by 0.1 mm."""

_STEEPEST_DEG = 45

_MOST_LISTED = 6

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices that make one volume.

    Attributes:
        slices: in K order; the headers at one position, more than one where slices are there twice.
        affine: (4, 4), (column, row, slice) -> RAS+ mm, of the volume with its slices moved by ``shift_px``.
        shift_px: (columns, rows) from one slice to the next by which a tilted gantry moved them; (0, 0) if it did not.
        tilt_deg: between the line of the slices' positions and the direction across the slices.
    """

    slices: tuple[tuple[Header, ...], ...]
    affine: Affine
    shift_px: tuple[float, float]
    tilt_deg: float


def stack_slices(headers: Sequence[Header], what: str) -> Stack:
    """Put slices in order and prove that they lie evenly.

    Args:
        headers: at least one, in any order.
        what: names the study in messages.

    Raises:
        StudyError: a slice without position, orientation or pixel spacing; one slice without thickness.
        GeometryError: several sizes, spacings or orientations; slices missing, or at uneven distances; the message
            gives the numbers.
    """
    _require_complete(headers, what)
    _require_alike(headers, what)
    row, column, normal = _directions(headers[0], what)
    slices = _by_position(headers, normal, what)
    places = np.array([group[0].position for group in slices])
    step = _even_step(places, normal, what) if len(slices) > 1 else normal * _thickness(headers[0], what)
    across = float(step @ normal)
    between_rows, between_columns = headers[0].spacing
    drift = step - across * normal
    tilt_deg = _angle_deg(step, normal)
    if tilt_deg > _STEEPEST_DEG:
        raise GeometryError(
            f"{what}: the slices' positions run {tilt_deg:.1f} degrees off the direction across them; a gantry tilts "
            f"by {_STEEPEST_DEG} at most, so the header's orientation or positions are wrong"
        )
    tilted = float(np.linalg.norm(drift)) * (len(slices) - 1) > GRID_TOLERANCE_MM
    shift = (float(drift @ row) / between_columns, float(drift @ column) / between_rows) if tilted else (0.0, 0.0)
    lps = np.eye(4)
    lps[:3] = np.stack([row * between_columns, column * between_rows, normal * across, places[0]], axis=1)
    return Stack(slices, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps, shift, tilt_deg)


def _require_complete(headers: Sequence[Header], what: str) -> None:
    needed = {"position": 3, "orientation": 6, "spacing": 2}
    names = {"position": "ImagePositionPatient", "orientation": "ImageOrientationPatient", "spacing": "PixelSpacing"}
    for name, count in needed.items():
        lacking = [h.path.name for h in headers if len(getattr(h, name)) != count]
        if lacking:
            raise StudyError(
                f"{what}: {len(lacking)} of {len(headers)} files have no {names[name]} ({lacking[0]}), so nobody "
                "knows where their voxels lie; export the series with its geometry"
            )
    if any(min(h.spacing) <= 0 for h in headers):
        raise GeometryError(f"{what}: expected a PixelSpacing above 0 mm, found {min(min(h.spacing) for h in headers)}")


def _require_alike(headers: Sequence[Header], what: str) -> None:
    """One size, one pixel spacing and one orientation, or every kind with its count."""
    first = headers[0]

    def alike(h: Header) -> bool:
        return (
            (h.rows, h.columns) == (first.rows, first.columns)
            and np.allclose(h.spacing, first.spacing, rtol=_SAME_SPACING, atol=0)
            and np.allclose(h.orientation, first.orientation, rtol=0, atol=_SAME_DIRECTION)
        )

    if all(map(alike, headers)):
        return
    kinds = Counter(
        f"{h.columns}x{h.rows} pixels of {h.spacing[1]:.4g} x {h.spacing[0]:.4g} mm, "
        f"orientation {' '.join(f'{value + 0.0:.4g}' for value in h.orientation)}"
        for h in headers
    )
    raise GeometryError(
        f"{what}: expected slices of one size, spacing and orientation, found {_listed(kinds)}; "
        "put each kind into a folder of its own"
    )


def _directions(header: Header, what: str) -> tuple[Vector, Vector, Vector]:
    row, column = np.array(header.orientation[:3]), np.array(header.orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not np.allclose(lengths, 1, atol=1e-3) or abs(row @ column) > 1e-3:
        raise GeometryError(
            f"{what}: expected two directions at a right angle as ImageOrientationPatient, found "
            f"{' '.join(f'{value:g}' for value in header.orientation)}"
        )
    row = row / lengths[0]
    column = column - (column @ row) * row
    column /= np.linalg.norm(column)
    return row, column, np.cross(row, column)


def _by_position(headers: Sequence[Header], normal: Vector, what: str) -> tuple[tuple[Header, ...], ...]:
    """Slices in the order of their position across the slices; those at one position together."""
    ordered = sorted(headers, key=lambda h: (float(np.array(h.position) @ normal), h.path.name))
    groups: list[list[Header]] = []
    for header in ordered:
        move = np.array(header.position) - groups[-1][0].position if groups else None
        if move is None or abs(move @ normal) > _SAME_POSITION_MM:
            groups.append([header])
        elif np.linalg.norm(move) > _SAME_POSITION_MM:
            raise GeometryError(
                f"{what}: two slices lie in one plane, {np.linalg.norm(move):.2f} mm apart "
                f"({groups[-1][0].path.name}, {header.path.name}): the series holds several fields of view; "
                "put each into a folder of its own"
            )
        else:
            groups[-1].append(header)
    return tuple(map(tuple, groups))


def _even_step(places: NDArray[np.float64], normal: Vector, what: str) -> Vector:
    """The vector from each slice to the next.

    Args:
        places: (slices, 3) positions in order.
        normal: direction across the slices.
        what: names the study in messages.

    Raises:
        GeometryError: there is no such vector.
    """
    step: Vector = (places[-1] - places[0]) / (len(places) - 1)
    expected = places[0] + np.arange(len(places))[:, None] * step
    away = float(np.linalg.norm(places - expected, axis=1).max())
    if away <= _tolerance(float(step @ normal)):
        return step
    moves = np.diff(places, axis=0)
    distances = np.linalg.norm(moves, axis=1)
    found = _listed(Counter(f"{distance:.2f} mm" for distance in distances))
    tilt = _angle_deg(step, normal)
    tilted = f", with the gantry tilted by {tilt:.1f} degrees" if tilt > 0.1 else ""
    gaps = _missing(distances)
    if gaps:
        where = ", ".join(f"{count} after slice {after}" for after, count in gaps[:_MOST_LISTED])
        more = ", ..." if len(gaps) > _MOST_LISTED else ""
        raise GeometryError(
            f"{what}: {sum(count for _, count in gaps)} slices are missing ({where}{more} of {len(places)}): "
            f"distances {found}{tilted}; copy the series again, whole"
        )
    if np.ptp(distances) <= _tolerance(float(distances.mean())):
        raise GeometryError(
            f"{what}: the slices do not lie on one line: {away:.2f} mm beside it at most, distances {found}{tilted}"
        )
    raise GeometryError(
        f"{what}: expected even distances between slices, found {found}{tilted}; "
        "export a reconstruction with one distance"
    )


def _missing(distances: NDArray[np.float64]) -> list[tuple[int, int]]:
    """(after which slice, counted from 1; how many are missing), or [] where the distances are no whole multiples."""
    common = float(np.median(distances[distances <= distances.min() + _tolerance(float(distances.min()))]))
    multiples = np.round(distances / common)
    if np.any(np.abs(distances - multiples * common) > multiples * _tolerance(common)):
        return []
    return [(k + 1, int(multiple) - 1) for k, multiple in enumerate(multiples) if multiple > 1]


def _thickness(header: Header, what: str) -> float:
    if not header.thickness or header.thickness <= 0:
        raise StudyError(f"{what}: a single slice without SliceThickness has no volume; give the whole series")
    return header.thickness


def _tolerance(distance: float) -> float:
    return max(_TOLERANCE_MM, _TOLERANCE_SHARE * distance)


def _angle_deg(step: Vector, normal: Vector) -> float:
    return float(np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1))))


def _listed(counts: Counter[str]) -> str:
    """``"2.00 mm (18 times), 4.00 mm (once)"``, the most frequent first."""
    most = counts.most_common()
    parts = [f"{text} ({'once' if count == 1 else f'{count} times'})" for text, count in most[:_MOST_LISTED]]
    more = len(most) - _MOST_LISTED
    return "; ".join(parts) + (f"; and {more} more, {most[-1][0]} the rarest" if more > 0 else "")
