"""Spatial augmentation: flip, rotate, scale, translate and elastic deformation as one interpolation, in 2D and 3D.

The dice are rolled first (``roll``), without looking at a voxel; then ``source_size`` says how large a crop the deed
needs, so that a rotated patch is filled with the study's own voxels and not with black corners; then ``apply_spatial``
does it. All of it is a pure function of the generator, so a run can be replayed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from medseg.transforms.dice import drawn
from medseg.transforms.settings import Augmentation
from medseg.types import AXES


@dataclass(frozen=True, eq=False)
class SpatialParameters:
    """What was rolled for one patch.

    Attributes:
        matrix: (d, d); output offset from the patch's centre -> source offset from the crop's centre, in voxels.
        shift: (d,) source voxels added to every offset.
        displacement: (d, n, ...) source voxels added at the control points, or None.
    """

    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]
    displacement: NDArray[np.float32] | None

    @property
    def flips_only(self) -> bool:
        """No interpolation is needed."""
        still = self.displacement is None and not self.shift.any()
        return still and bool(np.array_equal(np.abs(self.matrix), np.eye(len(self.matrix))))


def roll(settings: Augmentation, spacing_mm: Sequence[float], rng: Generator) -> SpatialParameters:
    """Draw the parameters for one patch of ``len(spacing_mm)`` axes.

    Rotation happens in millimetres, so that it stays a rotation on anisotropic voxels.
    """
    dims = len(spacing_mm)
    matrix = np.eye(dims)
    if rotate := drawn(settings.rotate, rng):
        matrix = _rotation(rng.uniform(-rotate.degrees, rotate.degrees, size=3 if dims == 3 else 1))
    if scale := drawn(settings.scale, rng):
        low, high = scale.factor
        # drawn in the logarithm, so that halving is as likely as doubling
        matrix = matrix / math.exp(rng.uniform(math.log(low), math.log(high)))
    spacing = np.asarray(spacing_mm, dtype=float)
    matrix = matrix * spacing[None, :] / spacing[:, None]
    for axis in range(dims):
        if (flip := drawn(settings.flip, rng)) and axis in [AXES[name] for name in flip.axes]:
            matrix[:, axis] *= -1.0
    shift = np.zeros(dims)
    if translate := drawn(settings.translate, rng):
        shift = rng.uniform(-translate.mm, translate.mm, size=dims) / spacing
    displacement = None
    if elastic := drawn(settings.elastic, rng):
        points = (dims, *([elastic.control_points] * dims))
        displacement = rng.normal(0.0, elastic.displacement_voxels, size=points).astype(np.float32)
    return SpatialParameters(matrix, shift, displacement)


def source_size(parameters: SpatialParameters, patch_size: Sequence[int]) -> tuple[int, ...]:
    """Voxels of the crop that the transformed patch may reach into, along each axis."""
    half = (np.asarray(patch_size, dtype=float) - 1.0) / 2.0
    reach = np.abs(parameters.matrix) @ half + np.abs(parameters.shift)
    if parameters.displacement is not None:
        reach = reach + _smooth(parameters.displacement, patch_size).abs().flatten(1).amax(dim=1).numpy()
    # the same parity as the patch, so that both centres fall on the same voxel
    more = np.ceil(reach - half - 1e-6).astype(int)
    return tuple(int(n + 2 * m) for n, m in zip(patch_size, more, strict=True))


def apply_spatial(
    image: Tensor, label: Tensor, parameters: SpatialParameters, patch_size: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Move image and label together.

    Args:
        image: (C, *source) float32, a crop of ``source_size(parameters, patch_size)`` voxels.
        label: (*source) uint8 class indices.
        parameters: from ``roll``.
        patch_size: voxels of the result.

    Returns:
        Image (C, *patch_size), linear; label (*patch_size), nearest.
    """
    if parameters.flips_only:
        axes = [a for a in range(len(patch_size)) if parameters.matrix[a, a] < 0]
        return image.flip([a + 1 for a in axes]), label.flip(axes)
    grid = _sampling_grid(parameters, tuple(image.shape[1:]), patch_size)
    moved = F.grid_sample(image[None], grid, mode="bilinear", padding_mode="border", align_corners=True)[0]
    classes = F.grid_sample(label[None, None].float(), grid, mode="nearest", padding_mode="border", align_corners=True)
    return moved, classes[0, 0].to(torch.uint8)


def _rotation(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(degrees) == 1:
        a = math.radians(degrees[0])
        return np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        p, q = [n for n in range(3) if n != axis]
        turn[p, p] = turn[q, q] = math.cos(angle)
        turn[p, q], turn[q, p] = -math.sin(angle), math.sin(angle)
        matrix = matrix @ turn
    return matrix


def _sampling_grid(parameters: SpatialParameters, source: tuple[int, ...], patch_size: Sequence[int]) -> Tensor:
    dims = len(patch_size)
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2.0 for n in patch_size]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    matrix = torch.from_numpy(parameters.matrix).float()
    shift = torch.from_numpy(parameters.shift).float().reshape(-1, *([1] * dims))
    where = (matrix @ offsets.reshape(dims, -1)).reshape(offsets.shape) + shift
    if parameters.displacement is not None:
        where = where + _smooth(parameters.displacement, patch_size)
    # grid_sample wants [-1, 1] from the first to the last voxel centre, and the last axis first
    half = torch.tensor([max(n - 1, 1) / 2.0 for n in source]).reshape(-1, *([1] * dims))
    return (where / half).flip(0).movedim(0, -1)[None]


def _smooth(displacement: NDArray[np.float32], patch_size: Sequence[int]) -> Tensor:
    """Displacement of every voxel (d, *patch_size); bicubic in 2D, which may exceed the control points."""
    mode = "bicubic" if len(patch_size) == 2 else "trilinear"
    return F.interpolate(torch.from_numpy(displacement)[None], size=tuple(patch_size), mode=mode, align_corners=True)[0]
