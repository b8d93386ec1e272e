"""One optimiser step: objective, backward, clip, update."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from medseg.training.objective import Batch, Objective
from medseg.training.trainee import Trainee


def train_step(
    trainee: Trainee,
    objective: Objective,
    batches: Sequence[Batch],
    *,
    learning_rate: float,
    progress: float = 0.0,
    clip_grad_norm: float | None = None,
) -> dict[str, Tensor]:
    """Accumulate the gradients of ``batches`` and update the weights once.

    Returns:
        The mean of the objective (``loss``) and of its terms over the batches, detached, on the device.
    """
    trainee.network.train()
    for group in trainee.optimizer.param_groups:
        group["lr"] = learning_rate
    trainee.optimizer.zero_grad(set_to_none=True)
    totals: dict[str, Tensor] = {}
    for number, batch in enumerate(batches):
        with _synchronised(trainee, last=number == len(batches) - 1):
            value, terms = objective(trainee, batch, progress)
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


def _synchronised(trainee: Trainee, *, last: bool) -> AbstractContextManager[Any]:
    # gradients of several processes are exchanged once, with the last batch of the step
    if last or not isinstance(trainee.model, nn.parallel.DistributedDataParallel):
        return nullcontext()
    return trainee.model.no_sync()
