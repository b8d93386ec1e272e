"""Draw an anatomy on a CT's grid as a scanner would see it: partial volume at surfaces, correlated noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.phantom.anatomy import AIR_HU
from medseg.phantom.solids import Part, Solid, Values, rotation_matrix
from medseg.types import Affine, Grid, Shape3

SCANNER_RANGE_HU = (-1024, 3071)
"""What 12 bits of a scanner hold."""

SLAB_VOXELS = 500_000
"""About so many are drawn at a time: arrays that fit a processor's cache draw faster, and memory stays small."""

SHEAR_MM = 4.0
"""Amplitude of the shears that bend each patient in another way, in anatomical millimetres."""

_Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Scene:
    """A patient's pose on one grid, and the drawing of an anatomy's parts on it.

    Attributes:
        shape: voxels of the grid.
        to_anatomy: (4, 4) voxel index -> anatomical millimetres.
        phases: (3, 2) where the shears' waves begin.
        wavelengths: (3, 2) how long they are, in anatomical millimetres.
    """

    shape: Shape3
    to_anatomy: Affine
    phases: NDArray[np.float64]
    wavelengths: NDArray[np.float64]

    @classmethod
    def drawn(cls, rng: np.random.Generator, grid: Grid, scale: float) -> Scene:
        """A patient of ``scale`` times an adult's size, nearly straight and nearly in the middle of the grid."""
        middle = grid.affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2) + grid.affine[:3, 3]
        pose = np.eye(4)
        pose[:3, :3] = rotation_matrix(rng.uniform(-3, 3, 3)) * scale
        pose[:3, 3] = middle + rng.uniform(-6, 6, 3) * scale
        phases, wavelengths = rng.uniform(0, 2 * np.pi, (3, 2)), rng.uniform(150, 250, (3, 2))
        return cls(grid.shape, np.linalg.inv(pose) @ grid.affine, phases, wavelengths)

    def render(self, parts: list[Part]) -> tuple[Values, NDArray[np.uint8]]:
        """Draw parts over each other, from back to front.

        Returns:
            HU (float32), where voxels at a surface mix both sides by their share, and label values (uint8), which go by
            the voxel's centre; both of the grid's shape.
        """
        image = np.full(self.shape, AIR_HU, np.float32)
        label = np.zeros(self.shape, np.uint8)
        slices = max(SLAB_VOXELS // (self.shape[0] * self.shape[1]), 1)
        for start in range(0, self.shape[2], slices):
            stop = min(start + slices, self.shape[2])
            position = self._positions(start, stop)
            for part in parts:
                box = self._box(part.solid, start, stop)
                if all(side.start < side.stop for side in box):
                    _paint(part, box, position, image[:, :, start:stop], label[:, :, start:stop])
        return image, label

    def _positions(self, start: int, stop: int) -> list[Values]:
        """Anatomical x, y, z of the voxels of some slices and of one voxel more on every side."""
        ends = ((0, self.shape[0]), (0, self.shape[1]), (start, stop))
        i, j, k = np.ix_(*(np.arange(first - 1, last + 1, dtype=np.float32) for first, last in ends))
        rows = self.to_anatomy[:3].tolist()
        position = [row[0] * i + row[1] * j + row[2] * k + row[3] for row in rows]
        for axis in range(3):  # each shear depends on the two other axes only, so it keeps volumes
            u, v = position[(axis + 1) % 3], position[(axis + 2) % 3]
            (ku, kv), (pu, pv) = (2 * np.pi / self.wavelengths[axis]).tolist(), self.phases[axis].tolist()
            position[axis] = position[axis] + SHEAR_MM * np.sin(ku * u + pu) * np.sin(kv * v + pv)
        return position

    def _box(self, solid: Solid, start: int, stop: int) -> _Box:
        """Voxels of a slab, counted from its first slice, that a solid can touch; empty if there are none."""
        last = np.array([self.shape[0], self.shape[1], stop]) - 1
        slab = _moved(self.to_anatomy, _corners(np.array([0, 0, start]), last))
        low = np.maximum(solid.low, slab.min(axis=0) - SHEAR_MM) - SHEAR_MM
        high = np.minimum(solid.high, slab.max(axis=0) + SHEAR_MM) + SHEAR_MM
        corners = _moved(np.linalg.inv(self.to_anatomy), _corners(low, high))
        first = np.clip(np.floor(corners.min(axis=0)) - 1, [0, 0, start], last + 1) - [0, 0, start]
        end = np.clip(np.ceil(corners.max(axis=0)) + 2, [0, 0, start], last + 1) - [0, 0, start]
        if (low > high).any():
            end = first
        i, j, k = (slice(int(a), int(b)) for a, b in zip(first, end, strict=True))
        return i, j, k


def _paint(part: Part, box: _Box, position: list[Values], image: Values, label: NDArray[np.uint8]) -> None:
    around = tuple(slice(side.start, side.stop + 2) for side in box)
    field = part.solid.field(*(values[around] for values in position))
    inner = field[1:-1, 1:-1, 1:-1]
    # how much the field changes over one voxel, whatever its shape and direction: the width of the mixed border
    width = np.abs(field[2:, 1:-1, 1:-1] - field[:-2, 1:-1, 1:-1])
    width += np.abs(field[1:-1, 2:, 1:-1] - field[1:-1, :-2, 1:-1])
    width += np.abs(field[1:-1, 1:-1, 2:] - field[1:-1, 1:-1, :-2])
    share = np.clip(0.5 - 2 * inner / np.maximum(width, 1e-3), 0, 1)
    image[box] += share * (part.hu - image[box])
    if part.label is not None:
        label[box][inner < 0] = part.label


def _corners(low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
    return np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, 8).T


def _moved(affine: NDArray[Any], points: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(points @ affine[:3, :3].T + affine[:3, 3])


def draw_noise(rng: np.random.Generator, shape: Shape3, sigma_hu: float) -> Values:
    """Noise of a soft kernel, plus slow shading of a few HU.

    Neighbours within a slice (axes 0 and 1) go together, slices do not.

    Args:
        rng: draws it.
        shape: voxels.
        sigma_hu: standard deviation, without the shading's.

    Returns:
        float32 of ``shape``, to be added to an image.
    """
    noise: Values = rng.standard_normal((shape[0] + 2, shape[1] + 2, shape[2]), dtype=np.float32)
    noise = 0.25 * noise[:-2] + 0.5 * noise[1:-1] + 0.25 * noise[2:]
    noise = 0.25 * noise[:, :-2] + 0.5 * noise[:, 1:-1] + 0.25 * noise[:, 2:]
    noise *= sigma_hu / 0.375  # the sum of the squared weights, along both axes, is 0.375 ** 2
    waves = [
        np.sin(np.linspace(p, p + t, n, dtype=np.float32))
        for p, t, n in zip(*rng.uniform(1, 6, (2, 3)), shape, strict=True)
    ]
    noise += 4 * waves[0][:, None, None] * waves[1][:, None] * waves[2]
    return noise
