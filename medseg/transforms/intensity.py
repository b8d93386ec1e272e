"""Intensity augmentation of images in [0, 1]: noise, blur, contrast, gamma, simulated low resolution.

Each draws its parameters from the generator first and then acts, so that a patch can be replayed. Blur and gamma are
MONAI's array transforms.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from medseg.transforms.dice import drawn

if TYPE_CHECKING:
    from numpy.random import Generator

    from medseg.transforms.settings import Augmentation


def augment_intensity(image: Tensor, settings: Augmentation, rng: Generator) -> Tensor:
    """Roll and apply every intensity augmentation in turn.

    Args:
        image: (C, *spatial) float32 in [0, 1].
        settings: of which those from ``noise`` on are taken.
        rng: the patch's own generator.

    Returns:
        A new tensor of the same shape, clipped to [0, 1] as the window clips at inference.
    """
    if coarser := drawn(settings.low_resolution, rng):
        image = low_resolution(image, rng.uniform(*coarser.zoom))
    if blurred := drawn(settings.blur, rng):
        image = blur(image, rng.uniform(*blurred.sigma_voxels))
    if stretched := drawn(settings.contrast, rng):
        image = contrast(image, rng.uniform(*stretched.factor), rng.uniform(*stretched.shift))
    if bent := drawn(settings.gamma, rng):
        image = gamma(image, rng.uniform(*bent.gamma))
    if noise := drawn(settings.noise, rng):
        std = rng.uniform(*noise.std)
        image = image + std * torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype="float32"))
    return image.clamp(0.0, 1.0)


def low_resolution(image: Tensor, zoom: float) -> Tensor:
    """Shrink every spatial axis to ``zoom`` of its voxels (nearest) and enlarge again (linear)."""
    size = tuple(image.shape[1:])
    small = tuple(max(1, round(n * zoom)) for n in size)
    shrunk = F.interpolate(image[None], size=small, mode="nearest-exact")
    return F.interpolate(shrunk, size=size, mode="bilinear" if len(size) == 2 else "trilinear", align_corners=False)[0]


def blur(image: Tensor, sigma_voxels: float) -> Tensor:
    """Gaussian of ``sigma_voxels`` along every spatial axis (MONAI's GaussianSmooth); the edges are continued."""
    from monai.transforms import GaussianSmooth

    # MONAI's filter takes zeros from beyond the edge, which would frame every patch with a dark border
    margin = math.ceil(4.0 * sigma_voxels) + 1
    padded = F.pad(image, [margin] * 2 * (image.ndim - 1), mode="replicate")
    smoothed = _plain(GaussianSmooth(sigma=sigma_voxels)(padded))
    return smoothed[(slice(None), *[slice(margin, margin + n) for n in image.shape[1:]])]


def contrast(image: Tensor, factor: float, shift: float) -> Tensor:
    """Stretch the distance to the patch's mean by ``factor``, then add ``shift``."""
    mean = image.mean()
    return (image - mean) * factor + mean + shift


def gamma(image: Tensor, power: float) -> Tensor:
    """Raise to a power between the patch's own minimum and maximum (MONAI's AdjustContrast)."""
    from monai.transforms import AdjustContrast

    return _plain(AdjustContrast(gamma=power)(image))


def _plain(image: Tensor) -> Tensor:
    # MONAI answers with its MetaTensor, whose bookkeeping would follow the image into every batch
    return image.as_subclass(Tensor)
