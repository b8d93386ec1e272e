"""Optimisers as a pipeline's settings, each of which builds itself; nothing here imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from medseg.settings import Fraction, NotNegative, Positive, settings

if TYPE_CHECKING:
    import torch
    from torch import nn


@settings
class SGD:
    """Stochastic gradient descent with Nesterov momentum."""

    name: Literal["sgd"] = "sgd"
    learning_rate: Positive = 0.01
    momentum: Fraction = 0.9
    weight_decay: NotNegative = 1e-4

    def build(self, network: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of a network's parameters."""
        import torch

        groups, nesterov = _groups(network, self.weight_decay), self.momentum > 0
        return torch.optim.SGD(groups, lr=self.learning_rate, momentum=self.momentum, nesterov=nesterov)


@settings
class AdamW:
    """AdamW."""

    name: Literal["adamw"] = "adamw"
    learning_rate: Positive = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: NotNegative = 1e-2

    def build(self, network: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of a network's parameters."""
        import torch

        return torch.optim.AdamW(_groups(network, self.weight_decay), lr=self.learning_rate, betas=self.betas)


Optimizer = Annotated[SGD | AdamW, Field(discriminator="name")]
"""Every optimiser there is; a pipeline chooses by the name."""


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    # biases and norms do not decay: pulling a scale to zero is no regularisation
    decayed = [p for p in network.parameters() if p.ndim > 1]
    kept = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
