"""One optimiser step on networks small enough to work out by hand."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medseg.data.dataset import Sample
from medseg.training.step import Trainee, averaged, train_step


class _Scale(nn.Module):
    """logits = weight * image: one number to follow."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))

    def forward(self, image: Tensor) -> Tensor:
        return self.weight * image


def _mean(logits: Tensor, label: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Gradient of the mean of weight * image: the image's mean."""
    value = logits.mean()
    return value, {"half": value.detach() / 2}


def _cross_entropy(logits: Tensor, label: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    value = nn.functional.cross_entropy(logits, label)
    return value, {"cross_entropy": value.detach()}


def _trainee(network: nn.Module, learning_rate: float = 0.1, ema_decay: float | None = None) -> Trainee:
    return Trainee(
        network=network,
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=learning_rate),
        average=averaged(network, ema_decay),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        device=torch.device("cpu"),
    )


def _batch(*values: float) -> Sample:
    image = torch.tensor(values).reshape(-1, 1, 1, 1)
    return {"image": image, "label": torch.zeros(len(values), 1, 1, dtype=torch.int64)}


def _random_batch(size: int) -> Sample:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand((size, 1, 8, 8), generator=generator)
    return {"image": image, "label": (image[:, 0] > 0.5).long()}


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
    halves: list[Sample] = [{"image": whole["image"][i : i + 2], "label": whole["label"][i : i + 2]} for i in (0, 2)]
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
    trainee = _trainee(_convolutions())
    seen: list[Any] = []

    def loss(logits: Tensor, label: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        seen.append(logits.dtype)
        return _cross_entropy(logits, label)

    for _ in range(3):
        totals = train_step(
            trainee, loss, [_random_batch(2)], learning_rate=0.1, precision="bfloat16", channels_last=channels_last
        )
        assert torch.isfinite(totals["loss"])
    assert seen == [torch.float32] * 3
    assert {p.dtype for p in trainee.network.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((2, 3, 4, 4), torch.channels_last), ((2, 3, 4, 4, 4), torch.channels_last_3d)],
    ids=["2D", "3D"],
)
def test_channels_last_reaches_the_network(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    trainee = _trainee(_Scale())
    seen: list[Tensor] = []
    trainee.model = lambda image: (seen.append(image), trainee.network(image))[1]  # type: ignore[func-returns-value]
    batch: Sample = {"image": torch.rand(shape), "label": torch.zeros(2, *shape[2:], dtype=torch.int64)}
    train_step(trainee, _mean, [batch], learning_rate=0.1, channels_last=True)
    assert seen[0].is_contiguous(memory_format=layout)
    assert torch.equal(seen[0], batch["image"])


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
