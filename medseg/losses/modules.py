"""The torch modules of the terms: (logits, labels) -> scalar."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.model.classes import Classes
from medseg.types import IGNORE_INDEX

SMOOTH = 1e-7
"""Added above and below the Dice fraction (MONAI's smooth_nr and smooth_dr). Below float32's resolution once a class
has one voxel, so the value is the pure formula's; it only decides 0 / 0."""


class DiceLoss(nn.Module):
    """See ``terms.Dice``."""

    def __init__(self, classes: Classes, *, include_background: bool = False, batch: bool = False) -> None:
        super().__init__()
        from monai.losses.dice import DiceLoss as MonaiDiceLoss  # here: importing monai takes seconds

        # squared_pred gives the squared denominators; softmax and one-hot are done below, where ignored voxels can be
        # set to zero in both: 0 adds nothing to any of the three sums.
        self.classes = classes
        self.dice = MonaiDiceLoss(
            include_background=include_background,
            squared_pred=True,
            smooth_nr=SMOOTH,
            smooth_dr=SMOOTH,
            batch=batch,
            reduction="mean",
        )

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, C, I, J[, K]), labels (B, I, J[, K]) -> scalar."""
        probabilities = self.classes.probabilities(logits) * self.classes.counted(labels)
        value: Tensor = self.dice(probabilities, self.classes.target(labels))
        return value


class CrossEntropyLoss(nn.Module):
    """See ``terms.CrossEntropy``; one weight a channel."""

    class_weights: Tensor

    def __init__(self, class_weights: Sequence[float]) -> None:
        super().__init__()
        # Not persistent: a loss's weights belong to the configuration, not to a checkpoint.
        self.register_buffer("class_weights", torch.tensor(class_weights, dtype=torch.float32), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, C, I, J[, K]), labels (B, I, J[, K]) -> scalar."""
        # reduction="none" has a deterministic CUDA kernel, "mean" has not; and "mean" of no voxel is NaN.
        losses = nn.functional.cross_entropy(
            logits, labels, weight=self.class_weights, ignore_index=IGNORE_INDEX, reduction="none"
        )
        counted = labels != IGNORE_INDEX
        weights = self.class_weights[labels * counted] * counted
        total = weights.sum()
        return losses.sum() / torch.where(total > 0, total, torch.ones_like(total))


class BootstrappedCrossEntropyLoss(nn.Module):
    """See ``terms.BootstrappedCrossEntropy``."""

    def __init__(self, share: float, threshold: float | None) -> None:
        super().__init__()
        self.share = share
        self.least = math.inf if threshold is None else -math.log(threshold)
        """The loss above which a voxel is kept in any case."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, C, I, J[, K]), labels (B, I, J[, K]) -> scalar."""
        losses = nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="none").flatten(1)
        kept = self._kept(losses.detach(), labels.flatten(1) != IGNORE_INDEX)
        return (losses * kept).sum() / kept.sum().clamp(min=1)

    def _kept(self, losses: Tensor, counted: Tensor) -> Tensor:
        """Which voxels are averaged: (B, voxels) bool."""
        # Ignored voxels come last in the ranking, behind a loss of 0.
        number = (self.share * counted.sum(dim=1, keepdim=True)).round().clamp(min=1)
        worst = losses.masked_fill(~counted, -1).topk(int(number.max()), dim=1).indices
        ranked = torch.arange(worst.shape[1], device=worst.device) < number
        kept = torch.zeros_like(counted).scatter(1, worst, ranked)
        return (kept | (losses > self.least)) & counted
