"""A sample is a pure function of (seed, index), and holds exactly the voxels around its centre."""

import warnings
from dataclasses import fields

import numpy as np
import pytest
import torch

from medseg.data.dataset import PatchDataset
from medseg.data.settings import DataSettings
from medseg.model.classes import Classes
from medseg.transforms.settings import (
    Augmentation,
    Blur,
    ClassShift,
    Contrast,
    Elastic,
    Flip,
    Gamma,
    LowResolution,
    Noise,
    Rotate,
    Scale,
    Translate,
    Truncate,
)

AUGMENTED = Augmentation(
    flip=Flip(0.5, ("R", "A")), rotate=Rotate(0.5, 20.0), elastic=Elastic(0.5), noise=Noise(1.0, (0.1, 0.1))
)
SHAPE = (9, 8, 7)
CLASSES = Classes(("liver", "tumour"))


@pytest.fixture
def studies(cached_study):
    """Two studies; each voxel's number is its flat position (exact in float16 up to 2048), its label 1 at one place."""
    image = np.arange(9 * 8 * 7).reshape(SHAPE) / 512
    first, second = np.zeros(SHAPE), np.zeros(SHAPE)
    first[4, 4, 0], second[5, 3, 3] = 1, 255
    second[5, 3, 4] = 1
    return [cached_study(image, first, "s1"), cached_study(image, second, "s2")]


SLICE = {"mode": "slice"}
SLAB = {"mode": "slab", "slab_neighbours": 2}


def dataset(studies, patch, augmentation=None, seed=1, **options):
    settings = DataSettings(manifest="m.csv", patch_size=patch, **{"foreground_share": 1.0, **options})
    return PatchDataset(studies, settings, augmentation or Augmentation(), classes=CLASSES, seed=seed)


@pytest.mark.parametrize("view", [{}, SLICE, SLAB], ids=str)
def test_same_sample_whoever_asks_and_in_whichever_order(studies, view):
    make = lambda seed=1: dataset(studies, (5, 4) if view else (5, 4, 3), AUGMENTED, seed, **view)  # noqa: E731
    one, other = make(), make()
    forwards = {index: one[index] for index in range(6)}
    for index in (5, 2, 0, 3):
        sample = other[index]
        assert torch.equal(sample["image"], forwards[index]["image"])
        assert torch.equal(sample["label"], forwards[index]["label"])
    assert not torch.equal(forwards[0]["image"], forwards[1]["image"])
    assert not torch.equal(forwards[0]["image"], make(seed=2)[0]["image"])


@pytest.mark.parametrize(
    ("patch", "view", "image_shape"),
    [
        ((5, 4, 3), {}, (1, 5, 4, 3)),
        ((5, 4), SLICE, (1, 5, 4)),
        ((5, 4), SLAB, (5, 5, 4)),
        ((20, 9, 8), {}, (1, 20, 9, 8)),
    ],
)
@pytest.mark.parametrize("augmentation", [Augmentation(), AUGMENTED])
def test_shapes_and_types_of_every_mode(studies, patch, view, image_shape, augmentation):
    sample = dataset(studies, patch, augmentation, **view)[3]
    assert sample["image"].shape == image_shape
    assert sample["label"].shape == image_shape[1:]
    assert (sample["image"].dtype, sample["label"].dtype) == (torch.float32, torch.int64)
    assert type(sample["image"]) is torch.Tensor
    assert sample["image"].is_contiguous()


def test_patch_holds_the_voxels_around_its_centre(studies):
    sample = dataset(studies[1:], (3, 4, 3))[0]
    expected = np.arange(9 * 8 * 7).reshape(SHAPE)[4:7, 1:5, 3:6] / 512
    assert np.array_equal(sample["image"][0], expected.astype(np.float32))
    assert sample["label"][1, 2].tolist() == [255, 1, 0]
    assert sample["label"].sum() == 256


@pytest.mark.parametrize(("which", "slices"), [(0, [0, 0, 0, 1, 2]), (1, [2, 3, 4, 5, 6])])
def test_channels_of_a_slab_are_its_neighbours_and_the_edge_is_repeated(studies, which, slices):
    sample = dataset(studies[which : which + 1], (3, 3), **SLAB)[0]
    i, j, k = ((4, 4, 0), (5, 3, 4))[which]
    voxels = np.arange(9 * 8 * 7).reshape(SHAPE)[i - 1 : i + 2, j - 1 : j + 2] / 512
    assert np.array_equal(sample["image"], np.moveaxis(voxels[..., slices], -1, 0).astype(np.float32))
    assert np.argwhere(sample["label"].numpy() == 1).tolist() == [[1, 1]]
    assert slices[2] == k


def test_slice_is_the_middle_of_the_slab(studies):
    slab = dataset(studies, (5, 4), mode="slab", slab_neighbours=1)[2]
    single = dataset(studies, (5, 4), **SLICE)[2]
    assert torch.equal(slab["image"][1:2], single["image"])
    assert torch.equal(slab["label"], single["label"])


def test_crop_of_a_whole_study_may_be_changed_and_leaves_the_cache_alone(studies):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of read-only memory
        sample = dataset(studies, SHAPE)[0]
    sample["image"].zero_()
    sample["label"].zero_()
    assert studies[0].image.max() > 0
    assert studies[0].label.max() == 1


def test_enlarging_keeps_the_centre_voxel_and_air_lies_outside(studies):
    sample = dataset(studies[1:], SHAPE, Augmentation(scale=Scale(1.0, (0.5, 0.5))))[0]
    image = sample["image"][0]
    middle = np.arange(9 * 8 * 7).reshape(SHAPE)[4, :, 3].astype(np.float32) / 512
    assert image[4, 2:6, 3].tolist() == pytest.approx(
        [middle[0:2].mean(), middle[2:4].mean(), middle[4:6].mean(), middle[6:8].mean()]
    )
    assert image[0].max() == 0
    assert image[-1].max() == 0


ALONE = Augmentation(
    flip=Flip(1.0),
    rotate=Rotate(1.0),
    scale=Scale(1.0),
    translate=Translate(1.0),
    elastic=Elastic(1.0),
    class_shift=ClassShift(1.0),
    truncate=Truncate(1.0, (0.5, 0.5)),
    noise=Noise(1.0),
    blur=Blur(1.0),
    contrast=Contrast(1.0),
    gamma=Gamma(1.0),
    low_resolution=LowResolution(1.0, (0.5, 0.5)),
)


@pytest.mark.parametrize("part", [field.name for field in fields(Augmentation)])
def test_every_part_of_the_augmentation_acts_by_itself(studies, part):
    plain, changed = (
        dataset(studies[1:], (5, 4, 4), augmentation)[0]
        for augmentation in (Augmentation(), Augmentation(**{part: getattr(ALONE, part)}))
    )
    assert not torch.equal(changed["image"], plain["image"])


def test_shares_of_classes_are_asked_for_by_name(cached_study):
    label = np.zeros(SHAPE)
    label[4, 4, 3], label[2, 2, 2] = 1, 2
    study = cached_study(np.zeros(SHAPE), label)
    for shares, expected in (({"tumour": 0.0}, {1}), ({"liver": 0.0}, {2})):
        crops = dataset([study], (1, 1, 1), class_shares=shares)
        assert {int(crops[index]["label"]) for index in range(20)} == expected
    with pytest.raises(ValueError, match="no 'tumor'; did you mean 'tumour'"):
        dataset([study], (1, 1, 1), class_shares={"tumor": 1.0})


def test_a_patch_of_the_wrong_number_of_axes_is_refused(studies):
    with pytest.raises(ValueError, match="expected 2 numbers in mode slice"):
        dataset(studies, (5, 4, 3), **SLICE)
