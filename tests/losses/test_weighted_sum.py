import pytest
import torch

from medseg.losses.terms import CrossEntropy, Dice
from medseg.losses.weighted_sum import build_loss
from medseg.model.classes import Classes

BOTH = Classes(("liver", "tumour"))


def test_terms_are_weighted_added_and_reported_before_their_weight():
    logits, labels = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4))
    total, parts = build_loss([Dice(weight=2.0), CrossEntropy(weight=0.5), Dice(batch=True)], BOTH)(logits, labels)
    assert list(parts) == ["dice", "cross_entropy", "dice_2"]
    assert total.item() == pytest.approx(2 * parts["dice"] + 0.5 * parts["cross_entropy"] + parts["dice_2"])
    assert not any(value.requires_grad for value in parts.values())


def test_a_loss_has_a_term() -> None:
    with pytest.raises(ValueError, match="at least one term"):
        build_loss([], BOTH)


def test_the_loss_adds_nothing_to_a_checkpoint() -> None:
    assert not build_loss([Dice(), CrossEntropy(class_weights={"tumour": 2.0})], BOTH).state_dict()
