"""Losses: Dice with squared denominators, pixel cross-entropy (weighted, or of the worst voxels), and sums of them.

A term is a small frozen dataclass in the ``LOSSES`` table; its ``build`` gives a module (logits, labels) -> scalar.
To add a loss: write its term, put it into ``LossTerm`` and the table, and its settings into ``config.schema``.

What holds for every term:

* logits (B, C, ...) of any float type, labels (B, ...) int64, 2D or 3D. Sums run in float32, under autocast too.
* Voxels labelled ``IGNORE_INDEX`` have no part in value or gradient; a batch of nothing else gives 0 with gradient 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from medseg.types import IGNORE_INDEX

SMOOTH = 1e-7
"""Added above and below the Dice fraction (MONAI's smooth_nr and smooth_dr). Below float32's resolution once a class
has one voxel, so the value is the pure formula's; it only decides 0 / 0."""


@dataclass(frozen=True)
class DiceTerm:
    """1 - 2 sum(y p) / (sum y^2 + sum p^2), for each class, averaged over classes (and samples).

    y is the one-hot label and p the softmax probability (Milletari et al. 2016, arXiv:1606.04797). A class that a crop
    lacks gives 1 - e / (sum p^2 + e) with e = ``SMOOTH``: about 1, hardly any gradient, until every p is almost 0.

    Attributes:
        weight: factor in the sum.
        include_background: count class 0 as a class of the average.
        batch: sum over the whole batch before the division instead of over each sample.
    """

    name: ClassVar[str] = "dice"
    weight: float = 1.0
    include_background: bool = False
    batch: bool = False

    def build(self, num_classes: int) -> nn.Module:
        """The term's module.

        Raises:
            ValueError: no foreground class to average over.
        """
        if num_classes < 2:
            raise ValueError(f"dice: expected background and at least one class, found num_classes={num_classes}")
        return _Dice(self.include_background, self.batch)


@dataclass(frozen=True)
class CrossEntropyTerm:
    """Pixel cross-entropy: sum(w[y] * -log p[y]) / sum(w[y]) over the voxels that count.

    Attributes:
        weight: factor in the sum.
        class_weights: w, one number a class with background first; None weighs all alike (then it is the plain mean).
            Voxels of classes with weight 0 count like ignored ones.
    """

    name: ClassVar[str] = "cross_entropy"
    weight: float = 1.0
    class_weights: tuple[float, ...] | None = None

    def build(self, num_classes: int) -> nn.Module:
        """The term's module.

        Raises:
            ValueError: not one weight a class, or a weight that is negative or not finite.
        """
        weights = np.asarray((1.0,) * num_classes if self.class_weights is None else self.class_weights, dtype=float)
        if weights.shape != (num_classes,) or not (np.isfinite(weights) & (weights >= 0)).all():
            raise ValueError(
                f"cross_entropy: expected {num_classes} finite weights >= 0, background first, found {list(weights)}"
            )
        return _CrossEntropy(torch.tensor(weights, dtype=torch.float32))


@dataclass(frozen=True)
class BootstrappedCrossEntropyTerm:
    """Pixel cross-entropy of the worst voxels alone: the mean of -log p[y] over the voxels that are kept.

    Online bootstrapping (Wu et al. 2016, arXiv:1605.06885; FRRN, Pohlen et al. 2017, arXiv:1611.08323), also called
    online hard example mining. FRRN keeps 32,768 pixels of each image, whatever its size; a share suits any patch.

    Attributes:
        weight: factor in the sum.
        share: of the voxels that count in each patch, the part that is kept, worst first: rounded, and at least one
            voxel. 1 is plain cross-entropy.
        threshold: keep beside those every voxel whose true class has a lower probability than this; None keeps no more.
    """

    name: ClassVar[str] = "bootstrapped_cross_entropy"
    weight: float = 1.0
    share: float = 0.0625
    threshold: float | None = None

    def build(self, num_classes: int) -> nn.Module:
        """The term's module.

        Raises:
            ValueError: a share outside (0, 1], or a threshold outside (0, 1).
        """
        if not 0 < self.share <= 1:
            raise ValueError(f"bootstrapped_cross_entropy: expected a share above 0 and up to 1, found {self.share}")
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ValueError(
                f"bootstrapped_cross_entropy: expected a threshold between 0 and 1, or None, found {self.threshold}"
            )
        return _BootstrappedCrossEntropy(self.share, self.threshold)


LossTerm = DiceTerm | CrossEntropyTerm | BootstrappedCrossEntropyTerm

LOSSES: Mapping[str, type[LossTerm]] = {
    "dice": DiceTerm,
    "cross_entropy": CrossEntropyTerm,
    "bootstrapped_cross_entropy": BootstrappedCrossEntropyTerm,
}
"""Name in a pipeline YAML -> term."""


class WeightedSum(nn.Module):
    """Sum of terms, each times its weight.

    Example:
        >>> loss = build_loss([DiceTerm(), CrossEntropyTerm(weight=0.5)], num_classes=2)
        >>> total, parts = loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long))
        >>> sorted(parts)
        ['cross_entropy', 'dice']
    """

    def __init__(self, terms: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.terms = nn.ModuleDict(terms)
        self.weights = dict(weights)

    def forward(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate the terms.

        Shape:
            logits (B, C, I, J[, K]) float, labels (B, I, J[, K]) int64 in [0, C) or ``IGNORE_INDEX``.

        Returns:
            The sum (scalar float32), and each term before its weight, detached, by name.
        """
        with torch.autocast(logits.device.type, enabled=False):
            values = {name: term(logits.float(), labels) for name, term in self.terms.items()}
        total = torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
        return total, {name: value.detach() for name, value in values.items()}


def build_loss(terms: Sequence[LossTerm], num_classes: int) -> WeightedSum:
    """Compose terms into one loss.

    Args:
        terms: at least one; a second term of a kind is named ``dice_2`` and so on.
        num_classes: classes including background.

    Raises:
        ValueError: no term, a weight that is not positive, or a term that does not fit ``num_classes``.
    """
    if not terms:
        raise ValueError("loss: expected at least one term")
    modules: dict[str, nn.Module] = {}
    weights: dict[str, float] = {}
    for term in terms:
        count = 1 + sum(other.name == term.name for other in terms[: len(modules)])
        name = term.name if count == 1 else f"{term.name}_{count}"
        if not term.weight > 0:
            raise ValueError(f"{name}: expected a weight above 0, found {term.weight}")
        modules[name], weights[name] = term.build(num_classes), term.weight
    return WeightedSum(modules, weights)


def balanced_weights(voxel_counts: ArrayLike) -> NDArray[np.float64]:
    """Class weights inverse to each class's share of the voxels, scaled to a mean of 1 over the classes that occur.

    Args:
        voxel_counts: (num_classes,) voxels of the training set, background first. A class without voxels gets 0: it has
            no target to weigh, and any other number would push the other weights about.

    Raises:
        ValueError: negative counts, or no voxel at all.
    """
    counts = np.asarray(voxel_counts, dtype=np.float64)
    present = counts > 0
    if counts.ndim != 1 or (counts < 0).any() or not present.any():
        raise ValueError(f"expected voxel counts >= 0, one a class and not all 0, found {counts.tolist()}")
    weights = np.zeros_like(counts)
    weights[present] = 1.0 / counts[present]
    return np.asarray(weights / weights[present].mean())


class _Dice(nn.Module):
    def __init__(self, include_background: bool, batch: bool) -> None:
        super().__init__()
        from monai.losses.dice import DiceLoss  # here: importing monai takes seconds

        # squared_pred gives the squared denominators; softmax and one-hot are done below, where ignored voxels can be
        # set to zero in both: 0 adds nothing to any of the three sums.
        self.dice = DiceLoss(
            include_background=include_background,
            squared_pred=True,
            smooth_nr=SMOOTH,
            smooth_dr=SMOOTH,
            batch=batch,
            reduction="mean",
        )

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        classes = torch.arange(logits.shape[1], device=labels.device).view(1, -1, *[1] * (labels.ndim - 1))
        one_hot = (labels.unsqueeze(1) == classes).float()  # IGNORE_INDEX equals no class: all zero
        counted = (labels != IGNORE_INDEX).unsqueeze(1)
        probabilities = torch.softmax(logits, dim=1) * counted
        value: Tensor = self.dice(probabilities, one_hot)
        return value


class _CrossEntropy(nn.Module):
    class_weights: Tensor

    def __init__(self, class_weights: Tensor) -> None:
        super().__init__()
        # Not persistent: a loss's weights belong to the configuration, not to a checkpoint.
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        # reduction="none" has a deterministic CUDA kernel, "mean" has not; and "mean" of no voxel is NaN.
        losses = nn.functional.cross_entropy(
            logits, labels, weight=self.class_weights, ignore_index=IGNORE_INDEX, reduction="none"
        )
        counted = labels != IGNORE_INDEX
        weights = self.class_weights[labels * counted] * counted
        total = weights.sum()
        return losses.sum() / torch.where(total > 0, total, torch.ones_like(total))


class _BootstrappedCrossEntropy(nn.Module):
    def __init__(self, share: float, threshold: float | None) -> None:
        super().__init__()
        self.share = share
        self.least = math.inf if threshold is None else -math.log(threshold)
        """The loss above which a voxel is kept in any case."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
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
