"""One optimiser step: forward, loss, backward, clip, update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from medseg.data.dataset import Sample
from medseg.networks.outputs import Output
from medseg.training.auxiliary import Loss, training_loss

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass
class Trainee:
    """What training changes.

    Attributes:
        network: the bare module, whose weights are saved.
        model: what is called: the network, compiled or wrapped for several processes.
        optimizer: over the network's parameters.
        average: exponential moving average of the weights, or None.
        scaler: loss scaling; does nothing unless the precision is float16.
        device: where it runs.
    """

    network: nn.Module
    model: Callable[[Tensor], Output]
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    scaler: torch.amp.GradScaler
    device: torch.device

    @property
    def evaluated(self) -> nn.Module:
        """The weights that validate and are kept: the average if there is one."""
        return self.average.module if self.average is not None else self.network

    def state_dicts(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dicts(self, states: dict[str, Any]) -> None:
        """Continue from ``state_dicts``."""
        self.network.load_state_dict(states["network"])
        self.optimizer.load_state_dict(states["optimizer"])
        self.scaler.load_state_dict(states["scaler"])
        if self.average is not None:
            self.average.load_state_dict(states["average"])


def train_step(
    trainee: Trainee,
    loss: Loss,
    batches: Sequence[Sample],
    *,
    learning_rate: float,
    precision: Precision = "float32",
    clip_grad_norm: float | None = None,
    channels_last: bool = False,
) -> dict[str, Tensor]:
    """Accumulate the gradients of ``batches`` and update the weights once.

    Returns:
        The mean of the loss and of its terms over the batches, detached, on the device.
    """
    trainee.network.train()
    for group in trainee.optimizer.param_groups:
        group["lr"] = learning_rate
    trainee.optimizer.zero_grad(set_to_none=True)
    totals: dict[str, Tensor] = {}
    for number, batch in enumerate(batches):
        image = _on_device(batch["image"], trainee.device, channels_last)
        label = batch["label"].to(trainee.device, non_blocking=True)
        with _synchronised(trainee.model, last=number == len(batches) - 1):
            with _autocast(trainee.device, precision):
                output = trainee.model(image)
            value, terms = training_loss(loss, output, label)
            torch.autograd.backward(trainee.scaler.scale(value / len(batches)))
        for name, term in (("loss", value), *terms.items()):
            totals[name] = totals.get(name, 0.0) + term.detach() / len(batches)
    trainee.scaler.unscale_(trainee.optimizer)
    if clip_grad_norm is not None:
        nn.utils.clip_grad_norm_(trainee.network.parameters(), clip_grad_norm)
    trainee.scaler.step(trainee.optimizer)
    trainee.scaler.update()
    if trainee.average is not None:
        trainee.average.update_parameters(trainee.network)
    return totals


def averaged(network: nn.Module, decay: float | None) -> AveragedModel | None:
    """Exponential moving average of the weights and buffers, or None without a decay.

    The decay rises from 0.1 as (1 + n) / (10 + n), so that the first, random weights are soon forgotten.
    """
    if decay is None:
        return None

    def move(average: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        n = float(updates)
        return average.lerp(current, 1.0 - min(decay, (1.0 + n) / (10.0 + n)))

    def average_of(mean: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        return move(mean, current, updates) if mean.is_floating_point() else current

    return AveragedModel(network, avg_fn=average_of, use_buffers=True)


def _on_device(image: Tensor, device: torch.device, channels_last: bool) -> Tensor:
    image = image.to(device, non_blocking=True)
    if not channels_last:
        return image
    layout = torch.channels_last if image.ndim == 4 else torch.channels_last_3d
    return image.contiguous(memory_format=layout)


def _autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))


def _synchronised(model: Callable[[Tensor], Output], *, last: bool) -> AbstractContextManager[Any]:
    # gradients of several processes are exchanged once, with the last batch of the step
    if last or not isinstance(model, nn.parallel.DistributedDataParallel):
        return nullcontext()
    return model.no_sync()
