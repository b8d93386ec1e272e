"""Batches by number: the same with any number of workers, shared out among ranks, taken up anywhere."""

import numpy as np
import pytest
import torch

from medseg.data.dataset import PatchDataset
from medseg.data.loaders import Batches, BatchRange
from medseg.data.settings import DataSettings
from medseg.model.classes import Classes
from medseg.transforms.settings import Augmentation, Noise


@pytest.fixture
def dataset(cached_study):
    image = np.random.default_rng(0).random((8, 8, 6))
    studies = [cached_study(image, image > 0.5, name) for name in ("s1", "s2", "s3")]
    settings, noise = DataSettings(manifest="m.csv", patch_size=(4, 4, 4)), Noise(0.5, (0.0, 0.1))
    return PatchDataset(studies, settings, Augmentation(noise=noise), classes=Classes(("liver",)), seed=0)


def assert_equal(some, others):
    some, others = list(some), list(others)
    assert len(some) == len(others)
    for a, b in zip(some, others, strict=True):
        assert torch.equal(a["image"], b["image"])
        assert torch.equal(a["label"], b["label"])


def test_batches_hold_consecutive_samples():
    assert list(BatchRange(2, 5, 3)) == [[6, 7, 8], [9, 10, 11], [12, 13, 14]]
    assert len(BatchRange(2, 5, 3)) == 3
    assert list(BatchRange(4, 4, 3)) == []


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_share_each_batch_out_without_overlap(world_size):
    shares = [list(BatchRange(3, 6, 4, rank=rank, world_size=world_size)) for rank in range(world_size)]
    for batch, whole in enumerate(BatchRange(3, 6, 4)):
        parts = [share[batch] for share in shares]
        assert sorted(i for part in parts for i in part) == whole
        assert {len(part) for part in parts} == {4 // world_size}


def test_batch_stacks_its_samples(dataset):
    (batch,) = Batches(dataset, 3).batches(2, 3)
    assert batch["image"].shape == (3, 1, 4, 4, 4)
    assert type(batch["image"]) is torch.Tensor
    for place, index in enumerate((6, 7, 8)):
        assert torch.equal(batch["image"][place], dataset[index]["image"])
        assert torch.equal(batch["label"][place], dataset[index]["label"])


def test_resumed_run_sees_the_tail_of_the_uninterrupted_one(dataset):
    whole = list(Batches(dataset, 2).batches(0, 6))
    assert_equal(Batches(dataset, 2).batches(4, 6), whole[4:])


def test_workers_do_not_change_the_batches(dataset):
    assert_equal(Batches(dataset, 2, num_workers=2).batches(1, 5), Batches(dataset, 2).batches(1, 5))
