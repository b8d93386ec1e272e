"""Terms as settings: what they refuse, and the weights that follow from the training studies."""

import math
from typing import Any, get_args

import numpy as np
import pytest

from medseg.losses.terms import BootstrappedCrossEntropy, CrossEntropy, Dice, LossTerm, balanced_weights
from medseg.model.classes import Classes

BOTH = Classes(("liver", "tumour"))


def weights_of(class_weights: Any, voxels: dict[int, int] | None = None) -> list[float]:
    return CrossEntropy(class_weights=class_weights).build(BOTH, voxels or {}).class_weights.tolist()


def test_a_class_that_is_not_named_weighs_one() -> None:
    assert weights_of(None) == [1.0, 1.0, 1.0]
    assert weights_of({"background": 0.5, "tumour": 3.0}) == [0.5, 1.0, 3.0]


def test_balanced_counts_the_voxels_of_the_training_studies() -> None:
    assert weights_of("balanced", {0: 60, 1: 30, 2: 10}) == pytest.approx([1 / 3, 2 / 3, 2])
    assert weights_of("balanced", {0: 60, 2: 30, 255: 9}) == pytest.approx([2 / 3, 0, 4 / 3])


def test_balanced_weights_are_inverse_to_the_counts_with_mean_one():
    np.testing.assert_allclose(balanced_weights([60, 30, 10]), np.array([1, 2, 6]) / 3)


def test_a_class_without_voxels_gets_no_weight_and_disturbs_no_other():
    np.testing.assert_allclose(balanced_weights([60, 0, 30]), np.array([2, 0, 4]) / 3)


@pytest.mark.parametrize("counts", [[0, 0], [-1, 2], [[1, 2]]])
def test_counts_that_make_no_weights_are_refused(counts):
    with pytest.raises(ValueError, match="expected voxel counts"):
        balanced_weights(counts)


@pytest.mark.parametrize(
    ("term", "settings", "named"),
    [
        (Dice, {"weight": 0.0}, "weight"),
        (CrossEntropy, {"class_weights": {"liver": -1.0}}, "class_weights"),
        (CrossEntropy, {"class_weights": {"liver": math.nan}}, "class_weights"),
        (CrossEntropy, {"class_weights": "even"}, "class_weights"),
        (BootstrappedCrossEntropy, {"share": 0.0}, "share"),
        (BootstrappedCrossEntropy, {"share": 1.5}, "share"),
        (BootstrappedCrossEntropy, {"threshold": 1.0}, "threshold"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(term: Any, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        term(**settings)


def test_weights_of_no_class_and_a_loss_without_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected weights of background, liver or tumour, found one of 'lung'"):
        CrossEntropy(class_weights={"lung": 2.0}).build(BOTH, {})
    with pytest.raises(ValueError, match="at least one class"):
        Dice().build(Classes(()), {})


def test_every_term_of_the_union_has_a_name_of_its_own() -> None:
    terms = get_args(get_args(LossTerm)[0])
    assert sorted(term.name for term in terms) == ["bootstrapped_cross_entropy", "cross_entropy", "dice"]
