"""Augmentations that know the label."""

import numpy as np
import torch

from medseg.transforms.anatomy import augment_anatomy, shift_class, truncate
from medseg.transforms.settings import Augmentation, ClassShift, Truncate


def test_shift_acts_inside_the_class_and_fades_at_its_border():
    mask = torch.zeros((9, 9), dtype=torch.bool)
    mask[3:6, 3:6] = True
    shifted = shift_class(torch.zeros((1, 9, 9)), mask, 0.9)[0]
    assert shifted[4, 4].item() == np.float32(0.9)  # all nine neighbours belong to the class
    torch.testing.assert_close(shifted[3, 4], torch.tensor(0.6))  # six of nine
    torch.testing.assert_close(shifted[2, 4], torch.tensor(0.3))  # three of nine
    assert shifted[1, 4].item() == 0.0


def test_truncation_leaves_air_and_background_outside():
    image, label = torch.ones((1, 2, 2, 5)), torch.ones((2, 2, 5), dtype=torch.uint8)
    image, label = truncate(image, label, start=1, length=2)
    assert image[0, 0, 0].tolist() == [0, 1, 1, 0, 0]
    assert label[0, 0].tolist() == [0, 1, 1, 0, 0]
    assert label.dtype == torch.uint8


def test_every_class_moves_by_its_own_amount_and_ignored_voxels_do_not():
    label = torch.zeros((12, 12, 12), dtype=torch.uint8)
    label[:4], label[8:], label[:, 11] = 1, 2, 255
    settings = Augmentation(class_shift=ClassShift(1.0, (0.1, 0.2)))
    image, same = augment_anatomy(torch.zeros((1, 12, 12, 12)), label, settings, np.random.default_rng(0))
    assert 0.1 <= image[0, 1, 5, 5] <= 0.2
    assert 0.1 <= image[0, 10, 5, 5] <= 0.2
    assert image[0, 1, 5, 5] != image[0, 10, 5, 5]
    assert image[0, 6, 5, 5] == 0
    assert image[0, 6, 11, 5] == 0
    assert torch.equal(same, label)


def test_slices_are_never_truncated():
    settings = Augmentation(truncate=Truncate(1.0, (0.1, 0.1)))
    image, _ = augment_anatomy(
        torch.ones((1, 8, 8)), torch.ones((8, 8), dtype=torch.uint8), settings, np.random.default_rng(0)
    )
    assert image.min() == 1


def test_equal_generators_give_equal_patches_and_what_is_off_does_nothing():
    image, label = torch.rand((1, 6, 6, 6)), torch.randint(0, 3, (6, 6, 6), dtype=torch.uint8)
    settings = Augmentation(class_shift=ClassShift(1.0, (-0.2, 0.2)), truncate=Truncate(1.0, (0.3, 0.8)))
    first = augment_anatomy(image, label, settings, np.random.default_rng(7))
    again = augment_anatomy(image, label, settings, np.random.default_rng(7))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    untouched = augment_anatomy(image, label, Augmentation(), np.random.default_rng(7))
    assert torch.equal(untouched[0], image)
    assert torch.equal(untouched[1], label)
