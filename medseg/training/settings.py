"""The training loop's settings: the section of a pipeline; nothing here imports torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medseg.losses.terms import CrossEntropy, Dice, LossTerm
from medseg.settings import LENGTHENS, MAY_CHANGE, NotNegative, Positive, PositiveInt, settings
from medseg.training.optimizers import SGD, Optimizer
from medseg.training.schedule import Schedule

Precision = Literal["float32", "bfloat16", "float16"]


@settings
class Training:
    """The training loop."""

    epochs: Annotated[PositiveInt, LENGTHENS] = 100
    """An epoch is `steps_per_epoch` optimiser steps."""
    steps_per_epoch: PositiveInt = 100
    max_minutes: Annotated[Positive | None, LENGTHENS] = None
    """Wall-clock budget of training; the learning rate reaches its end at the budget, if that comes before the last
    epoch."""
    loss: Annotated[tuple[LossTerm, ...], Field(min_length=1)] = (Dice(), CrossEntropy())
    """Terms that are weighted and added."""
    optimizer: Optimizer = SGD()
    schedule: Schedule = Schedule()
    validate_every: Annotated[PositiveInt, MAY_CHANGE] = 10
    """Epochs between validations on whole studies (and one after the last)."""
    keep: Literal["best", "last"] = "best"
    """Weights of the final model: the best validation's, or the last (unbiased where the same studies are scored)."""
    early_stopping: Annotated[PositiveInt | None, MAY_CHANGE] = None
    """Validations without a better mean Dice before training ends; null never ends early."""
    accumulate: PositiveInt = 1
    """Batches whose gradients are added before each optimiser step."""
    clip_grad_norm: Positive | None = 12.0
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    """Decay of the averaged weights that validate and are kept; null keeps the plain weights."""
    precision: Precision = "float32"
    """Autocast type; float16 scales the loss and needs CUDA."""
    compile: Annotated[bool, MAY_CHANGE] = False
    """torch.compile the network."""
    channels_last: bool = False
    """Memory layout that convolutions prefer on most machines."""
    deterministic: bool = False
    """Only deterministic kernels (slower on CUDA; CPU runs repeat bit for bit anyway)."""
    device: Annotated[Literal["auto", "cpu", "cuda"], MAY_CHANGE] = "auto"
    seed: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[PositiveInt | None, MAY_CHANGE] = None
    """CPU threads; null leaves torch's choice."""
    checkpoint_every_s: Annotated[NotNegative, MAY_CHANGE] = 300.0
    """Seconds between checkpoints inside an epoch; one is written after every epoch anyway."""

    @property
    def total_steps(self) -> int:
        """Optimiser steps without a budget or early stopping."""
        return self.epochs * self.steps_per_epoch
