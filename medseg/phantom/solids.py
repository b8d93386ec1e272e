"""Solids given by a formula: ellipsoids, columns and capsules that can be joined, cut and made bumpy.

A solid is a function of position that is negative inside, zero on its surface and about the distance in millimetres
outside, with a box that surely holds it. Nothing is a mesh or a mask, so one anatomy can be drawn on any grid.

Positions are three arrays x, y, z of one shape, in millimetres; +x points to the patient's right, +y to the front, +z
to the head (RAS+).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
Field = Callable[[Values, Values, Values], Values]
Point = tuple[float, float, float]

ANYWHERE = float("inf")
"""Bound of a solid that does not end along an axis."""


@dataclass(frozen=True, eq=False)
class Solid:
    """A region of space.

    Attributes:
        field: signed distance in mm (negative inside); exact only near the surface of simple solids.
        low: lower corner of a box that holds the solid; may be -inf.
        high: its upper corner; may be inf.
    """

    field: Field
    low: Point
    high: Point

    def grown(self, distance_mm: float) -> Solid:
        """The solid with its surface moved outwards (inwards when negative)."""
        extra = max(distance_mm, 0.0) * 1.5  # the field of a long ellipsoid runs ahead of the distance
        return Solid(
            lambda x, y, z: self.field(x, y, z) - distance_mm,
            _point(value - extra for value in self.low),
            _point(value + extra for value in self.high),
        )

    def joined(self, other: Solid, blend_mm: float = 0.0) -> Solid:
        """Either solid; ``blend_mm`` fills the crease between them."""
        low, high = _point(map(min, self.low, other.low)), _point(map(max, self.high, other.high))
        return Solid(
            lambda x, y, z: _smooth_minimum(self.field(x, y, z), other.field(x, y, z), blend_mm),
            _point(value - blend_mm for value in low),
            _point(value + blend_mm for value in high),
        )

    def within(self, other: Solid, blend_mm: float = 0.0) -> Solid:
        """What lies in both solids; ``blend_mm`` rounds the edge between them."""
        return Solid(
            lambda x, y, z: -_smooth_minimum(-self.field(x, y, z), -other.field(x, y, z), blend_mm),
            _point(map(max, self.low, other.low)),
            _point(map(min, self.high, other.high)),
        )

    def without(self, other: Solid, gap_mm: float = 0.0, blend_mm: float = 0.0) -> Solid:
        """The solid with another cut out of it, ``gap_mm`` wider than that is."""

        def field(x: Values, y: Values, z: Values) -> Values:
            return -_smooth_minimum(-self.field(x, y, z), other.field(x, y, z) - gap_mm, blend_mm)

        return Solid(field, self.low, self.high)

    def bumpy(self, rng: np.random.Generator, amplitude_mm: float, wavelength_mm: float) -> Solid:
        """The solid with smooth random dents and bumps of at most ``amplitude_mm``, ``wavelength_mm`` apart."""
        waves = [_point(rng.uniform(0.8, 1.25, 3) * 2 * np.pi / wavelength_mm) for _ in range(2)]
        phases = [_point(rng.uniform(0, 2 * np.pi, 3)) for _ in range(2)]

        def field(x: Values, y: Values, z: Values) -> Values:
            distance = self.field(x, y, z)
            for k, p in zip(waves, phases, strict=True):
                bump = np.sin(k[0] * x + p[0]) * np.sin(k[1] * y + p[1]) + np.sin(k[2] * z + p[2])
                distance = distance + amplitude_mm / 4 * bump
            return distance

        pad = amplitude_mm * 1.5
        return Solid(field, _point(v - pad for v in self.low), _point(v + pad for v in self.high))


@dataclass(frozen=True, eq=False)
class Part:
    """One layer of the drawing; later parts cover earlier ones.

    Attributes:
        name: for people and tests.
        solid: where it is.
        hu: its attenuation.
        label: label value of its voxels; None leaves the label as it is.
    """

    name: str
    solid: Solid
    hu: float
    label: int | None = None


def ellipsoid(centre: Point, radii: Point, turn_deg: Point = (0.0, 0.0, 0.0)) -> Solid:
    """An ellipsoid whose own axes are turned about x, then y, then z."""
    rotation = rotation_matrix(turn_deg)
    rows = [_point(row) for row in rotation.T]  # position -> the ellipsoid's own axes
    reach = np.sqrt((rotation**2) @ (np.square(radii)))

    def field(x: Values, y: Values, z: Values) -> Values:
        dx, dy, dz = x - centre[0], y - centre[1], z - centre[2]
        own = [row[0] * dx + row[1] * dy + row[2] * dz for row in rows] if any(turn_deg) else [dx, dy, dz]
        return _ellipse_distance(own, radii)

    return Solid(field, _point(np.subtract(centre, reach)), _point(np.add(centre, reach)))


def column(centre: tuple[float, float], radii: tuple[float, float], *, boxiness: float = 0.0) -> Solid:
    """An endless column along z; ``boxiness`` 0 is an ellipse, 1 nearly a rectangle with round corners."""

    def field(x: Values, y: Values, z: Values) -> Values:
        u, v = (x - centre[0]) / radii[0], (y - centre[1]) / radii[1]
        u, v = u * u, v * v
        round_, box = u + v, np.sqrt(u * u + v * v)  # squared radius of the ellipse and of the fourth-power ellipse
        radius = np.sqrt((1 - boxiness) * round_ + boxiness * box)
        # scale the unit-less radius by the local size of the column, so that the field is in millimetres
        steepness = np.sqrt(u / radii[0] ** 2 + v / radii[1] ** 2) / np.sqrt(np.maximum(round_, 1e-6))
        distance: Values = (radius - 1) / np.maximum(steepness, 1e-4)
        return distance

    return Solid(
        field,
        (centre[0] - radii[0], centre[1] - radii[1], -ANYWHERE),
        (centre[0] + radii[0], centre[1] + radii[1], ANYWHERE),
    )


def capsule(start: Point, end: Point, start_radius: float, end_radius: float) -> Solid:
    """A rod with round ends that tapers from one radius to another."""
    axis = _point(np.subtract(end, start))
    length2 = float(np.dot(axis, axis))

    def field(x: Values, y: Values, z: Values) -> Values:
        dx, dy, dz = x - start[0], y - start[1], z - start[2]
        along = np.clip((dx * axis[0] + dy * axis[1] + dz * axis[2]) / length2, 0, 1)
        dx, dy, dz = dx - along * axis[0], dy - along * axis[1], dz - along * axis[2]
        distance: Values = np.sqrt(dx * dx + dy * dy + dz * dz) - (start_radius + (end_radius - start_radius) * along)
        return distance

    radius = max(start_radius, end_radius)
    return Solid(
        field,
        _point(min(a, b) - radius for a, b in zip(start, end, strict=True)),
        _point(max(a, b) + radius for a, b in zip(start, end, strict=True)),
    )


def half_space(axis: int, level: float) -> Solid:
    """Everything above ``level`` on axis 0 (x), 1 (y) or 2 (z)."""
    low = [-ANYWHERE] * 3
    low[axis] = level
    return Solid(lambda x, y, z: level - (x, y, z)[axis], _point(low), (ANYWHERE, ANYWHERE, ANYWHERE))


def rotation_matrix(turn_deg: Iterable[float]) -> NDArray[np.float64]:
    """(3, 3) rotation about x, then y, then z by the given degrees."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(list(turn_deg))):
        step = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        step[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix = step @ matrix
    return matrix


def _ellipse_distance(own: Sequence[Values], radii: Point) -> Values:
    """First-order distance to an ellipsoid: k0 (k0 - 1) / k1, exact on a sphere."""
    scaled = [value / radius for value, radius in zip(own, radii, strict=True)]
    k0 = np.sqrt(scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2)
    k1 = np.sqrt((scaled[0] / radii[0]) ** 2 + (scaled[1] / radii[1]) ** 2 + (scaled[2] / radii[2]) ** 2)
    distance: Values = k0 * (k0 - 1) / np.maximum(k1, 1e-6)  # 0 instead of 0 / 0 at the very centre ...
    distance[k0 < 1e-3] = -min(radii)  # ... from where the surface is the smallest radius away
    return distance


def _smooth_minimum(a: Values, b: Values, blend_mm: float) -> Values:
    if blend_mm <= 0:
        return np.minimum(a, b)
    overlap = np.maximum(blend_mm - np.abs(a - b), 0) / blend_mm
    blended: Values = np.minimum(a, b) - overlap * overlap * (blend_mm / 4)
    return blended


def _point(values: Iterable[float]) -> Point:
    # plain floats, because numpy's float64 scalars would turn float32 arrays into float64
    x, y, z = (float(value) for value in values)
    return x, y, z
