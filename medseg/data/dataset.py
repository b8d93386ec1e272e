"""The training set: sample ``index`` is a pure function of (seed, index), whichever worker of whichever run asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from medseg.data.cache import CachedStudy
from medseg.data.sampling import crop, draw_centre, sample_generator, study_of
from medseg.data.settings import DataSettings
from medseg.model.classes import Classes
from medseg.transforms.anatomy import augment_anatomy
from medseg.transforms.intensity import augment_intensity
from medseg.transforms.settings import Augmentation
from medseg.transforms.spatial import apply_spatial, roll, source_size


class Sample(TypedDict):
    """One crop, or with a leading batch axis a batch of them.

    image: (C, *patch) float32 in [0, 1]; C is 1 for slices and patches, 2k + 1 for slabs.
    label: (*patch) int64 class indices; 255 is ignored.
    """

    image: Tensor
    label: Tensor


class PatchDataset(Dataset[Sample]):
    """Endless crops of cached studies: slices (2D), slabs (2.5D) or patches (3D).

    Args:
        studies: cached studies; every one is visited once before any is visited again.
        settings: how crops are chosen, and how the network sees them.
        augmentation: what is done to them.
        classes: whose shares of the crops the settings name.
        seed: the run's seed.
    """

    def __init__(
        self,
        studies: Sequence[CachedStudy],
        settings: DataSettings,
        augmentation: Augmentation,
        *,
        classes: Classes,
        seed: int,
    ) -> None:
        self.studies = list(studies)
        self.view = settings.view
        self.patch_size = self.view.extent(settings.patch_size)
        self.foreground_share = settings.foreground_share
        self.class_shares = {classes.index(name): share for name, share in settings.class_shares.items()}
        self.augmentation = augmentation
        self.seed = seed

    def __getitem__(self, index: int) -> Sample:
        study = self.studies[study_of(self.seed, index, len(self.studies))]
        rng = sample_generator(self.seed, index)
        centre = draw_centre(
            study.shape,
            study.voxels,
            rng,
            size=self.patch_size,
            foreground_share=self.foreground_share,
            class_shares=self.class_shares,
        )
        dims = self.view.spatial_dims
        patch_size = self.patch_size[:dims]
        parameters = roll(self.augmentation, study.spacing_mm[:dims], rng)
        size = source_size(parameters, patch_size)
        image, label = self._cut(study, centre, size)
        image, label = apply_spatial(image, label, parameters, patch_size)
        image, label = augment_anatomy(image, label, self.augmentation, rng)
        image = augment_intensity(image, self.augmentation, rng)
        return {"image": image.contiguous(), "label": label.long()}

    def _cut(self, study: CachedStudy, centre: Sequence[int], size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        if self.view.spatial_dims == 3:
            image = crop(study.image, centre, size).astype(np.float32)[None]
            # copied, because a memory map is read-only and torch has no such tensors
            return torch.from_numpy(image), torch.from_numpy(np.array(crop(study.label, centre, size)))
        slices = self.view.slices(centre[2], study.shape[2])
        channels = [crop(study.image, (*centre[:2], k), (*size, 1))[..., 0] for k in slices]
        label = crop(study.label, centre, (*size, 1))[..., 0]
        return torch.from_numpy(np.stack(channels).astype(np.float32)), torch.from_numpy(np.array(label))
