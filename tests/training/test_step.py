"""One optimiser step on networks small enough to work out by hand."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medseg.training.objective import LABELLED, Batch, Supervised
from medseg.training.step import train_step
from medseg.training.trainee import Trainee, averaged


class _Scale(nn.Module):
    """logits = weight * image: one number to follow."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))

    def forward(self, image: Tensor) -> Tensor:
        return self.weight * image


def _mean(trainee: Trainee, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Gradient of the mean of weight * image: the image's mean."""
    value = trainee(batch[LABELLED]["image"]).mean()  # type: ignore[union-attr]
    return value, {"half": value.detach() / 2}


class _CrossEntropy(nn.Module):
    def forward(self, logits: Tensor, label: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        value = nn.functional.cross_entropy(logits, label)
        return value, {"cross_entropy": value.detach()}


_cross_entropy = Supervised(_CrossEntropy())


def _trainee(network: nn.Module, learning_rate: float = 0.1, ema_decay: float | None = None) -> Trainee:
    return Trainee(
        network=network,
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=learning_rate),
        average=averaged(network, ema_decay),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        device=torch.device("cpu"),
    )


def _batch(*values: float) -> Batch:
    image = torch.tensor(values).reshape(-1, 1, 1, 1)
    return {LABELLED: {"image": image, "label": torch.zeros(len(values), 1, 1, dtype=torch.int64)}}


def _random_batch(size: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand((size, 1, 8, 8), generator=generator)
    return {LABELLED: {"image": image, "label": (image[:, 0] > 0.5).long()}}


def _convolutions() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))


def test_step_moves_the_weight_by_learning_rate_times_gradient() -> None:
    trainee = _trainee(_Scale(1.0))
    totals = train_step(trainee, _mean, [_batch(2.0, 4.0)], learning_rate=0.5)
    assert trainee.network.weight.item() == pytest.approx(1.0 - 0.5 * 3.0)
    assert {k: v.item() for k, v in totals.items()} == pytest.approx({"loss": 3.0, "half": 1.5})
    assert not any(value.requires_grad for value in totals.values())


def test_learning_rate_is_set_in_every_group() -> None:
    network = _convolutions()
    trainee = _trainee(network)
    trainee.optimizer = torch.optim.SGD([{"params": [p]} for p in network.parameters()], lr=9.0)
    train_step(trainee, _cross_entropy, [_random_batch(2)], learning_rate=0.25)
    assert [group["lr"] for group in trainee.optimizer.param_groups] == [0.25] * 4


def test_gradients_of_an_earlier_step_are_forgotten() -> None:
    trainee = _trainee(_Scale(1.0))
    for _ in range(2):
        train_step(trainee, _mean, [_batch(1.0)], learning_rate=1.0)
    assert trainee.network.weight.item() == pytest.approx(-1.0)


def test_two_half_batches_are_one_whole_batch() -> None:
    whole = _random_batch(4)
    image, label = whole[LABELLED]["image"], whole[LABELLED]["label"]
    halves: list[Batch] = [{LABELLED: {"image": image[i : i + 2], "label": label[i : i + 2]}} for i in (0, 2)]
    once, twice = _trainee(_convolutions()), _trainee(_convolutions())
    for _ in range(3):
        of_whole = train_step(once, _cross_entropy, [whole], learning_rate=0.5)
        of_halves = train_step(twice, _cross_entropy, halves, learning_rate=0.5)
        assert of_halves["loss"].item() == pytest.approx(of_whole["loss"].item(), abs=1e-6)
    for a, b in zip(once.network.parameters(), twice.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_gradient_is_clipped_to_the_norm() -> None:
    trainee = _trainee(_Scale(1.0))
    train_step(trainee, _mean, [_batch(100.0)], learning_rate=1.0, clip_grad_norm=0.25)
    assert trainee.network.weight.item() == pytest.approx(0.75, abs=1e-5)


def test_gradient_below_the_norm_is_left_alone() -> None:
    trainee = _trainee(_Scale(1.0))
    train_step(trainee, _mean, [_batch(0.125)], learning_rate=1.0, clip_grad_norm=0.25)
    assert trainee.network.weight.item() == pytest.approx(0.875)


def test_average_follows_with_a_decay_that_rises() -> None:
    trainee = _trainee(_Scale(10.0), ema_decay=0.2)
    weights = []
    for _ in range(4):
        train_step(trainee, _mean, [_batch(1.0)], learning_rate=1.0)
        weights.append(trainee.evaluated.weight.item())
    # the weight is 9, 8, 7, 6; the first update copies, then decays are 2/11, then 0.2 (3/12 and 4/13 exceed it)
    second = 9 * 2 / 11 + 8 * 9 / 11
    third = 0.2 * second + 0.8 * 7
    assert weights == pytest.approx([9.0, second, third, 0.2 * third + 0.8 * 6])
    assert trainee.network.weight.item() == pytest.approx(6.0)


def test_average_holds_buffers_too() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    trainee = _trainee(network, ema_decay=0.5)
    for _ in range(2):
        train_step(trainee, _cross_entropy, [_random_batch(4)], learning_rate=0.1)
    average = trainee.evaluated.state_dict()
    assert average["1.num_batches_tracked"].item() == 2
    assert average.keys() == network.state_dict().keys()
    assert not torch.equal(average["1.running_mean"], network.state_dict()["1.running_mean"])


def test_without_a_decay_the_network_itself_is_evaluated() -> None:
    network = _Scale()
    assert averaged(network, None) is None
    assert _trainee(network).evaluated is network


@pytest.mark.parametrize("channels_last", [False, True])
def test_bfloat16_autocast_stays_finite_and_keeps_float32_weights(channels_last: bool) -> None:
    trainee = replace(_trainee(_convolutions()), precision="bfloat16", channels_last=channels_last)
    seen: list[Any] = []

    class Seeing(_CrossEntropy):
        def forward(self, logits: Tensor, label: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            seen.append(logits.dtype)
            return super().forward(logits, label)

    for _ in range(3):
        totals = train_step(trainee, Supervised(Seeing()), [_random_batch(2)], learning_rate=0.1)
        assert torch.isfinite(totals["loss"])
    assert seen == [torch.float32] * 3
    assert {p.dtype for p in trainee.network.parameters()} == {torch.float32}


def test_state_dicts_continue_momentum_and_average_exactly() -> None:
    def momentum_trainee() -> Trainee:
        trainee = _trainee(_Scale(1.0), ema_decay=0.5)
        trainee.optimizer = torch.optim.SGD(trainee.network.parameters(), lr=0.1, momentum=0.9)
        return trainee

    def step(trainee: Trainee) -> None:
        train_step(trainee, _mean, [_batch(1.0)], learning_rate=0.1)

    through, first, second = momentum_trainee(), momentum_trainee(), momentum_trainee()
    for _ in range(4):
        step(through)
    for _ in range(2):
        step(first)
    second.load_state_dicts(copy.deepcopy(first.state_dicts()))
    for _ in range(2):
        step(second)
    assert torch.equal(second.network.weight, through.network.weight)
    assert torch.equal(second.evaluated.weight, through.evaluated.weight)


def test_network_is_back_in_train_mode_after_a_validation() -> None:
    trainee = _trainee(_Scale())
    trainee.network.eval()
    train_step(trainee, _mean, [_batch(1.0)], learning_rate=0.1)
    assert trainee.network.training


def test_the_objective_gets_the_trainee_every_stream_and_how_far_training_is() -> None:
    """A mean teacher in a few lines: labelled crops, and beside them crops that only the weight average judges."""
    trainee = _trainee(_Scale(2.0), ema_decay=0.5)
    train_step(trainee, _mean, [_batch(1.0)], learning_rate=1.0)  # the average begins at the weight 1
    labelled, unlabelled = _batch(0.0)[LABELLED], _batch(3.0)[LABELLED]

    def consistent(trainee: Trainee, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        supervised, terms = _mean(trainee, batch, progress)
        image = batch["unlabelled"]["image"]
        with torch.no_grad():
            taught = trainee.evaluated(image) + 1.0
        consistency = (trainee(image) - taught).square().mean()  # type: ignore[operator]
        return supervised + progress * consistency, {**terms, "consistency": consistency.detach()}

    batch = {LABELLED: labelled, "unlabelled": unlabelled}
    totals = train_step(trainee, consistent, [batch], learning_rate=0.1, progress=0.5)
    # the weight and its average are 1: (3 - 4) squared, of which half counts, with a gradient of 0.5 * 2 * -1 * 3
    assert totals["consistency"].item() == pytest.approx(1.0)
    assert totals["loss"].item() == pytest.approx(0.5)
    assert trainee.network.weight.item() == pytest.approx(1.0 + 0.1 * 3.0)
