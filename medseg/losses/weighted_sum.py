"""The loss of a pipeline: its terms, each times its weight, added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from medseg.losses.terms import ClassVoxels, LossTerm
from medseg.model.classes import Classes


class WeightedSum(nn.Module):
    """Sum of terms, each times its weight.

    Example:
        >>> loss = build_loss([Dice(), CrossEntropy(weight=0.5)], Classes(("liver",)))
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


def build_loss(terms: Sequence[LossTerm], classes: Classes, class_voxels: ClassVoxels | None = None) -> WeightedSum:
    """Compose terms into one loss.

    Args:
        terms: at least one; a second term of a kind is named ``dice_2`` and so on.
        classes: what the channels of the logits mean.
        class_voxels: of the training studies, for the weights that follow from them.

    Raises:
        ValueError: no term, or one that does not fit the classes.
    """
    if not terms:
        raise ValueError("loss: expected at least one term")
    modules: dict[str, nn.Module] = {}
    weights: dict[str, float] = {}
    for term in terms:
        count = 1 + sum(other.name == term.name for other in terms[: len(modules)])
        name = term.name if count == 1 else f"{term.name}_{count}"
        modules[name], weights[name] = term.build(classes, class_voxels or {}), term.weight
    return WeightedSum(modules, weights)
