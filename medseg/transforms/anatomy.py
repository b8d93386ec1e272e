"""Augmentations that know the label: other contrast phases, shorter scans.

They stand for what another hospital would have done to the same patient: enhanced an organ differently, or scanned
fewer slices. Both act on image and label together, between the spatial and the intensity augmentations.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor

from medseg.transforms.dice import drawn
from medseg.transforms.settings import Augmentation
from medseg.types import IGNORE_INDEX


def augment_anatomy(image: Tensor, label: Tensor, settings: Augmentation, rng: Generator) -> tuple[Tensor, Tensor]:
    """Roll and apply both.

    Args:
        image: (C, *spatial) float32 in [0, 1].
        label: (*spatial) uint8 class indices; of slabs those of the centre slice, which move every channel alike.
        settings: of which ``class_shift`` and ``truncate`` are taken.
        rng: the patch's own generator.

    Returns:
        New image and label of the same shapes.
    """
    if class_shift := drawn(settings.class_shift, rng):
        for value in torch.unique(label).tolist():
            if value not in (0, IGNORE_INDEX):
                image = shift_class(image, label == value, rng.uniform(*class_shift.shift))
    if (shorter := drawn(settings.truncate, rng)) and label.ndim == 3:
        length = max(1, round(label.shape[-1] * rng.uniform(*shorter.share)))
        image, label = truncate(image, label, int(rng.integers(label.shape[-1] - length + 1)), length)
    return image, label


def shift_class(image: Tensor, mask: Tensor, shift: float) -> Tensor:
    """Add ``shift`` inside ``mask``, fading over a voxel at its border as partial volume would."""
    soft = mask[None].float()
    pool = F.avg_pool2d if mask.ndim == 2 else F.avg_pool3d
    soft = pool(soft[None], kernel_size=3, stride=1, padding=1, count_include_pad=False)[0]
    return image + shift * soft


def truncate(image: Tensor, label: Tensor, start: int, length: int) -> tuple[Tensor, Tensor]:
    """Blank all but ``length`` slices from ``start`` along the last axis: air in the image, background in the label."""
    keep = torch.zeros(label.shape[-1], dtype=torch.bool)
    keep[start : start + length] = True
    return image * keep, label * keep
