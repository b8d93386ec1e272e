import pytest
import torch
from torch.nn import functional as F

from medseg.losses.terms import CrossEntropy
from medseg.losses.weighted_sum import build_loss
from medseg.model.classes import Classes
from medseg.networks.outputs import Auxiliary, TrainingOutput
from medseg.training.auxiliary import presence_loss, training_loss
from medseg.types import IGNORE_INDEX

LOSS = build_loss([CrossEntropy()], Classes(("a", "b")))


@pytest.fixture
def scores():
    torch.manual_seed(0)
    return torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))


def test_plain_logits_have_the_plain_loss(scores):
    logits, _, label = scores
    value, terms = training_loss(LOSS, logits, label)
    assert value == LOSS(logits, label)[0]
    assert set(terms) == {"cross_entropy"}


def test_every_auxiliary_adds_its_weighted_loss(scores):
    logits, coarse, label = scores
    presence = torch.randn(2, 3)
    output = TrainingOutput(logits, (Auxiliary("coarse", coarse, 0.4), Auxiliary("presence", presence, 0.2)))
    value, terms = training_loss(LOSS, output, label)
    expected = LOSS(logits, label)[0] + 0.4 * LOSS(coarse, label)[0] + 0.2 * presence_loss(presence, label)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(terms["auxiliary/coarse"], LOSS(coarse, label)[0])
    assert set(terms) == {"cross_entropy", "auxiliary/coarse", "auxiliary/presence"}


def test_voxels_that_do_not_count_are_left_out(scores):
    logits, coarse, label = scores
    counted = torch.rand(2, 4, 4) > 0.5
    kept = torch.where(counted, label, IGNORE_INDEX)
    value, _ = training_loss(LOSS, TrainingOutput(logits, (Auxiliary("a", coarse, 1.0, counted),), counted), label)
    torch.testing.assert_close(value, LOSS(logits, kept)[0] + LOSS(coarse, kept)[0])
    none = torch.zeros_like(counted)
    assert training_loss(LOSS, TrainingOutput(logits, (), none), label)[0] == 0


def test_presence_is_asked_of_each_patch_by_itself_and_ignored_voxels_say_nothing():
    label = torch.tensor([[[0, 2], [0, IGNORE_INDEX]], [[1, 1], [1, 1]]])
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, 0.3]])
    expected = F.binary_cross_entropy_with_logits(logits, torch.tensor([[1.0, 0, 1], [0, 1, 0]]))
    torch.testing.assert_close(presence_loss(logits, label), expected)
