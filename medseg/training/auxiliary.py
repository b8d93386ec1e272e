"""The loss of everything that a network declares it wants trained."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from medseg.networks.outputs import Output
from medseg.types import IGNORE_INDEX

Loss = Callable[[Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]
"""(logits, label) -> (the number to minimise, each term by name)."""


def training_loss(loss: Loss, output: Output, label: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The pipeline's loss of the logits, plus that of each auxiliary output times its weight.

    Args:
        loss: the pipeline's.
        output: what the network returned in train mode.
        label: (B, I, J[, K]) int64 class indices or ``IGNORE_INDEX``.

    Returns:
        The sum, and by name, detached: the terms of the logits' loss, and ``auxiliary/<name>`` before its weight.
    """
    if isinstance(output, Tensor):
        return loss(output.float(), label)
    total, terms = loss(output.logits.float(), _counted(label, output.counted))
    for auxiliary in output.auxiliary:
        logits = auxiliary.logits.float()
        target = _counted(label, auxiliary.counted)
        value = presence_loss(logits, target) if logits.ndim == 2 else loss(logits, target)[0]
        total = total + auxiliary.weight * value
        terms = {**terms, f"auxiliary/{auxiliary.name}": value.detach()}
    return total, terms


def presence_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Binary cross-entropy of which classes occur in each patch (EncNet's semantic encoding loss).

    Args:
        logits: (B, num_classes).
        label: (B, I, J[, K]); ignored voxels say nothing of any class.
    """
    classes = torch.arange(logits.shape[1], device=label.device)
    present = (label.flatten(1).unsqueeze(2) == classes).any(dim=1)
    return F.binary_cross_entropy_with_logits(logits, present.to(logits))


def _counted(label: Tensor, counted: Tensor | None) -> Tensor:
    return label if counted is None else label.masked_fill(~counted, IGNORE_INDEX)
