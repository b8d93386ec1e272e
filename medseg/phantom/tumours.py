"""Tumours for synthetic livers: irregular balls that lie wholly in the liver and apart from each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.phantom.solids import Part, Point, Solid, Values, ellipsoid

TUMOUR = 2
"""Label value."""


def draw_tumours(rng: np.random.Generator, liver: Solid, liver_hu: float, diameters: Sequence[float]) -> list[Part]:
    """Irregular balls in the liver, darker than it; some with a bright rim, some with a darker core.

    Args:
        rng: decides places and looks.
        liver: where they have to lie.
        liver_hu: its attenuation.
        diameters: of balls as large, in mm. A tumour that finds no room shrinks until it does.

    Returns:
        One or two parts a tumour, each labelled by its first; none overlap.
    """
    parts: list[Part] = []
    placed: list[tuple[Point, float]] = []
    for diameter in diameters:
        centre, radius = _find_room(rng, liver, diameter / 2, placed)
        placed.append((centre, radius))
        stretch = rng.uniform(0.88, 1.14, 3)
        radii = radius * stretch / np.cbrt(stretch.prod())  # the volume stays that of the ball
        ball = ellipsoid(centre, (float(radii[0]), float(radii[1]), float(radii[2])), _turn(rng))
        ball = ball.bumpy(rng, 0.14 * radius, 2.2 * radius)
        contrast = float(np.clip(liver_hu * rng.uniform(0.42, 0.65), 30, 80))
        dark = liver_hu - contrast
        kind = rng.choice(np.array(["plain", "rim", "necrotic"]), p=[0.5, 0.3, 0.2])
        parts.append(Part("tumour", ball, dark + (0.4 * contrast if kind == "rim" else 0), TUMOUR))
        if kind != "plain":
            core = ball.grown(-(0.2 if kind == "rim" else 0.45) * radius)
            parts.append(Part("tumour core", core, dark if kind == "rim" else dark - 15))
    return parts


def _find_room(
    rng: np.random.Generator, liver: Solid, radius: float, placed: Sequence[tuple[Point, float]]
) -> tuple[Point, float]:
    """A centre and radius such that the ball, with a margin, lies in the liver and apart from the balls placed."""
    shell = _directions()
    while True:
        centres = rng.uniform(liver.low, liver.high, (200, 3)).astype(np.float32)
        points = centres[:, None] + shell * (1.3 * radius + 2)
        fits = (liver.field(points[..., 0], points[..., 1], points[..., 2]) < 0).all(axis=1)
        for other, other_radius in placed:
            fits &= np.linalg.norm(centres - other, axis=1) > 1.2 * (radius + other_radius) + 4
        if fits.any():
            x, y, z = (float(value) for value in centres[fits.argmax()])
            return (x, y, z), radius
        radius *= 0.9


def _directions(count: int = 60) -> Values:
    """(count + 1, 3) points spread over the unit sphere (a Fibonacci spiral), and its centre."""
    k = np.arange(count) + 0.5
    z, turn = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    ring = np.sqrt(1 - z * z)
    return np.vstack([np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1), np.zeros((1, 3))]).astype("f4")


def _turn(rng: np.random.Generator) -> Point:
    x, y, z = rng.uniform(-40, 40, 3).tolist()
    return x, y, z
