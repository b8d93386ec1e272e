import math

import numpy as np
import pytest
import torch

from medseg.losses.terms import BootstrappedCrossEntropy, CrossEntropy, Dice
from medseg.losses.weighted_sum import build_loss
from medseg.model.classes import Classes

IGNORED = 255
NAMES = ("a", "b", "c")


def of(channels: int) -> Classes:
    return Classes(NAMES[: channels - 1])


def weights(*numbers: float) -> dict[str, float]:
    return dict(zip(("background", *NAMES), numbers, strict=False))


def random_case(*shape: int, num_classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape[0], num_classes, *shape[1:], generator=generator)
    return logits, torch.randint(0, num_classes, shape, generator=generator)


def direct_dice(logits: torch.Tensor, labels: torch.Tensor, first_class: int, batch: bool) -> float:
    """The formula spelt out in float64 numpy, voxel lists instead of masks."""
    p = torch.softmax(logits.double(), 1).numpy()
    samples = [(p[b], labels[b].numpy()) for b in range(len(p))]
    if batch:
        samples = [(np.concatenate([q for q, _ in samples], axis=1), np.concatenate([y for _, y in samples]))]
    losses = []
    for q, y in samples:
        q = q[:, y != IGNORED]
        y = y[y != IGNORED]
        for c in range(first_class, len(q)):
            one = (y == c).astype(float)
            losses.append(1 - 2 * (one * q[c]).sum() / ((one**2).sum() + (q[c] ** 2).sum()))
    return float(np.mean(losses))


def test_dice_of_two_voxels_is_the_number_worked_out_by_hand():
    # p(class 1) = 0.75 where y = 1, 0.25 where y = 0: 2 * 0.75 / (1 + 0.5625 + 0.0625) = 1.5 / 1.625
    logits = torch.tensor([[[[0.0, math.log(3)]], [[math.log(3), 0.0]]]])
    labels = torch.tensor([[[1, 0]]])
    total, parts = build_loss([Dice()], of(2))(logits, labels)
    assert total.item() == pytest.approx(1 - 1.5 / 1.625, abs=1e-6)
    assert parts["dice"].item() == total.item()


@pytest.mark.parametrize("shape", [(2, 5, 6), (2, 4, 5, 3)])
@pytest.mark.parametrize("include_background", [False, True])
@pytest.mark.parametrize("batch", [False, True])
def test_dice_equals_the_direct_formula(shape, include_background, batch):
    logits, labels = random_case(*shape)
    labels[:, 1] = IGNORED
    total, _ = build_loss([Dice(include_background=include_background, batch=batch)], of(3))(logits, labels)
    assert total.item() == pytest.approx(direct_dice(logits, labels, 0 if include_background else 1, batch), abs=1e-6)


def test_dice_is_zero_and_stationary_at_a_perfect_segmentation():
    _, labels = random_case(1, 6, 6)
    logits = (torch.nn.functional.one_hot(labels, 3).movedim(-1, 1) * 60.0).requires_grad_()
    total, _ = build_loss([Dice(include_background=True)], of(3))(logits, labels)
    total.backward()
    assert total.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad.abs().max() < 1e-7


def test_dice_of_an_absent_class_is_one_until_its_probabilities_vanish():
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    logits = torch.zeros(1, 2, 4, 4)
    loss = build_loss([Dice()], of(2))
    assert loss(logits, labels)[0].item() == pytest.approx(1, abs=1e-6)
    logits[:, 0] = 40.0
    assert loss(logits, labels)[0].item() == pytest.approx(0, abs=1e-6)


def test_cross_entropy_of_uniform_probabilities_is_the_logarithm_of_the_class_count():
    labels = torch.tensor([[[0, 1, 2, 3]]])
    total, _ = build_loss([CrossEntropy()], of(4))(torch.zeros(1, 4, 1, 4), labels)
    assert total.item() == pytest.approx(math.log(4), abs=1e-6)


def test_weighted_cross_entropy_divides_by_the_weights_of_the_targets():
    # -log p: log 2 at a voxel of class 0 (weight 1), log 4 at one of class 1 (weight 3)
    logits = torch.tensor([[[[0.0, math.log(3)]], [[0.0, 0.0]]]])
    labels = torch.tensor([[[0, 1]]])
    total, _ = build_loss([CrossEntropy(class_weights=weights(1.0, 3.0))], of(2))(logits, labels)
    assert total.item() == pytest.approx((math.log(2) + 3 * math.log(4)) / (1 + 3), abs=1e-6)


def test_cross_entropy_equals_torch_with_and_without_weights():
    logits, labels = random_case(2, 4, 5, 3)
    labels[0, 0] = IGNORED
    for given in (None, (0.2, 1.0, 3.0)):
        expected = torch.nn.functional.cross_entropy(
            logits, labels, weight=None if given is None else torch.tensor(given), ignore_index=IGNORED
        )
        total, _ = build_loss([CrossEntropy(class_weights=given and weights(*given))], of(3))(logits, labels)
        torch.testing.assert_close(total, expected)


ALL_TERMS = [
    Dice(include_background=True),
    Dice(batch=True),
    CrossEntropy(class_weights=weights(1, 2, 3)),
    BootstrappedCrossEntropy(share=0.5),
    BootstrappedCrossEntropy(threshold=0.6),
]


@pytest.mark.parametrize("term", ALL_TERMS)
def test_ignored_voxels_change_neither_value_nor_gradient(term):
    logits, labels = random_case(2, 4, 4)
    labels[:, 2] = IGNORED
    other = logits.clone()
    other[:, :, 2] += 5.0
    loss = build_loss([term], of(3))
    logits.requires_grad_()
    total, _ = loss(logits, labels)
    total.backward()
    assert total.item() == loss(other, labels)[0].item()
    assert logits.grad[:, :, 2].abs().max() == 0
    assert logits.grad.abs().max() > 0


@pytest.mark.parametrize("term", ALL_TERMS)
def test_a_batch_of_ignored_voxels_gives_zero_with_zero_gradient(term):
    logits = random_case(2, 4, 4)[0].requires_grad_()
    total, _ = build_loss([term], of(3))(logits, torch.full((2, 4, 4), IGNORED))
    total.backward()
    assert total.item() == 0
    assert logits.grad.abs().max() == 0


def test_targets_of_weight_zero_alone_give_zero():
    logits = torch.randn(1, 2, 2, 2)
    total, _ = build_loss([CrossEntropy(class_weights=weights(0.0, 1.0))], of(2))(logits, torch.zeros(1, 2, 2).long())
    assert total.item() == 0


def hard_and_easy(*odds: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A row of voxels of class 0 whose probability is 1 / (1 + odds), so that their loss is log(1 + odds)."""
    other = torch.tensor(odds).log().view(1, 1, 1, -1)
    return torch.cat([torch.zeros_like(other), other], dim=1), torch.zeros(1, 1, len(odds), dtype=torch.long)


@pytest.mark.parametrize(
    ("share", "worst"),
    [(1.0, (7, 3, 1, 1 / 3)), (0.5, (7, 3)), (0.6, (7, 3)), (0.7, (7, 3, 1)), (0.25, (7,)), (0.01, (7,))],
)
def test_bootstrapped_cross_entropy_is_the_mean_of_the_worst_voxels(share, worst):
    # losses log 2, log 8, log 4/3, log 4: of four voxels, 0.6 rounds to two, 0.7 to three, 0.01 is raised to one
    total, _ = build_loss([BootstrappedCrossEntropy(share=share)], of(2))(*hard_and_easy(1, 7, 1 / 3, 3))
    assert total.item() == pytest.approx(sum(math.log(1 + odds) for odds in worst) / len(worst), abs=1e-6)


@pytest.mark.parametrize(
    ("threshold", "worst"), [(0.2, (7, 3)), (0.3, (7, 3)), (0.6, (7, 3, 1)), (0.9, (7, 3, 1, 1 / 3))]
)
def test_a_threshold_keeps_every_voxel_below_it_and_never_fewer_than_the_share(threshold, worst):
    # probabilities 1/2, 1/8, 3/4, 1/4: below 0.2 lies one alone, but half of the four are kept
    loss = build_loss([BootstrappedCrossEntropy(share=0.5, threshold=threshold)], of(2))
    total, _ = loss(*hard_and_easy(1, 7, 1 / 3, 3))
    assert total.item() == pytest.approx(sum(math.log(1 + odds) for odds in worst) / len(worst), abs=1e-6)


def test_the_share_is_taken_of_each_patch_and_of_the_voxels_that_count_in_it():
    patches = [hard_and_easy(1, 7, 1 / 3, 3), hard_and_easy(1, 1 / 3, 15, 31)]
    logits, labels = (torch.cat(parts) for parts in zip(*patches, strict=True))
    labels[1, 0, 2:] = IGNORED  # the worst of the second patch; half of the other two is one voxel
    total, _ = build_loss([BootstrappedCrossEntropy(share=0.5)], of(2))(logits, labels)
    assert total.item() == pytest.approx((math.log(8) + math.log(4) + math.log(2)) / 3, abs=1e-6)


def test_a_patch_of_ignored_voxels_leaves_the_others_mean_alone():
    logits, labels = (torch.cat([part, part]) for part in hard_and_easy(1, 7, 1 / 3, 3))
    labels[0] = IGNORED
    total, _ = build_loss([BootstrappedCrossEntropy(share=0.5)], of(2))(logits, labels)
    assert total.item() == pytest.approx((math.log(8) + math.log(4)) / 2, abs=1e-6)


def test_only_the_voxels_that_are_kept_get_a_gradient():
    logits, labels = hard_and_easy(1, 7, 1 / 3, 3)
    logits.requires_grad_()
    build_loss([BootstrappedCrossEntropy(share=0.5)], of(2))(logits, labels)[0].backward()
    # softmax minus one-hot, over two voxels
    expected = torch.tensor([[0.0, -7 / 8, 0.0, -3 / 4], [0.0, 7 / 8, 0.0, 3 / 4]]) / 2
    torch.testing.assert_close(logits.grad[0, :, 0], expected)


def test_bootstrapped_cross_entropy_of_all_voxels_is_plain_cross_entropy():
    logits, labels = random_case(2, 4, 5, 3)
    labels[0, 0] = IGNORED
    _, parts = build_loss([BootstrappedCrossEntropy(share=1.0), CrossEntropy()], of(3))(logits, labels)
    torch.testing.assert_close(*parts.values())


def test_equal_losses_are_kept_up_to_the_share():
    # one loss of log 8 and, of three of log 2, one
    logits, labels = hard_and_easy(1, 1, 7, 1)
    total, _ = build_loss([BootstrappedCrossEntropy(share=0.5)], of(2))(logits, labels)
    assert total.item() == pytest.approx((math.log(8) + math.log(2)) / 2, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_logits_are_summed_in_float32(dtype):
    logits, labels = random_case(1, 40, 40)
    labels[:] = 1  # sums of 1600 ones: bfloat16 would stop counting at 256
    logits = logits.to(dtype)
    loss = build_loss([Dice(), CrossEntropy()], of(3))
    with torch.autocast("cpu", dtype=dtype):
        total, _ = loss(logits, labels)
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(loss(logits.float(), labels)[0].item(), abs=1e-6)
