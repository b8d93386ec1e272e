"""What a training step minimises: of the network and of a batch of every stream, one number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from medseg.data.dataset import Sample
from medseg.training.auxiliary import training_loss
from medseg.training.trainee import Trainee

Batch = Mapping[str, Sample]
"""Name of a stream -> its batch of this step."""

LABELLED = "labelled"
"""The stream of crops with their labels."""


class Objective(Protocol):
    """The number to minimise."""

    def __call__(self, trainee: Trainee, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate the objective.

        Args:
            trainee: called with an image it gives the network's output; its average and its other parts are at hand.
            batch: of every stream.
            progress: training done, 0 to 1, for what rises or falls in the course of it.

        Returns:
            The number (a scalar with a gradient), and its terms by name, detached, for the record.
        """
        ...


class Supervised:
    """The loss of the network's output, and of all that it declares it wants trained, beside the labels.

    Args:
        loss: (logits, label) -> (the number, each term by name); moved to the trainee's device by whoever makes it.
    """

    def __init__(self, loss: nn.Module) -> None:
        self.loss = loss

    def __call__(self, trainee: Trainee, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``Objective``."""
        sample = batch[LABELLED]
        label = sample["label"].to(trainee.device, non_blocking=True)
        return training_loss(self.loss, trainee(sample["image"]), label)
