"""What a network's channels mean, and how scores become classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from medseg.errors import ConfigError
from medseg.settings import settings
from medseg.types import IGNORE_INDEX
from medseg.words import did_you_mean

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Thresholds = Sequence[tuple[int, float]]
"""(class, probability) pairs, the first that is met wins."""

BLANK_LOGIT = 10.0
"""Of the background where no window was run, and less that of the other classes."""


@settings
class Classes:
    """One channel a class, background first, of which every voxel is exactly one (softmax)."""

    names: tuple[str, ...]
    """Foreground classes in class order: class c (from 1) is `names[c - 1]`; class 0 is background."""
    activation: Literal["softmax"] = "softmax"
    """What makes probabilities of the network's logits."""

    @property
    def num_channels(self) -> int:
        """Channels of the network's output: the classes and background."""
        return len(self.names) + 1

    def index(self, name: str) -> int:
        """The class of a name, from 1.

        Raises:
            ConfigError: no class has it; the nearest is offered.
        """
        if name not in self.names:
            near = did_you_mean(name, self.names)
            raise ConfigError(f"the model has the classes {', '.join(self.names)}, and no {name!r}{near}")
        return self.names.index(name) + 1

    def indices(self, by_name: Mapping[str, float]) -> Thresholds:
        """Thresholds by name as ``decide`` takes them.

        Raises:
            ConfigError: see ``index``.
        """
        return tuple((self.index(name), float(least)) for name, least in by_name.items())

    def target(self, label: Tensor) -> Tensor:
        """What perfect probabilities are.

        Args:
            label: (B, ...) class indices or ``IGNORE_INDEX``.

        Returns:
            (B, C, ...) float32, 1 in the channel of each voxel's class; nothing but 0 where voxels are ignored.
        """
        import torch

        channels = torch.arange(self.num_channels, device=label.device).view(1, -1, *[1] * (label.ndim - 1))
        return (label.unsqueeze(1) == channels).float()  # IGNORE_INDEX equals no class

    @staticmethod
    def counted(label: Tensor) -> Tensor:
        """The voxels that train: (B, 1, ...) bool, as broad as the channels of ``target``."""
        return (label != IGNORE_INDEX).unsqueeze(1)

    def probabilities(self, logits: Tensor, dim: int = 1) -> Tensor:
        """Probabilities of logits whose channels lie along ``dim``."""
        return logits.softmax(dim=dim)

    def uncertainty(self, probabilities: Tensor) -> Tensor:
        """Entropy over dimension 1, which stays with one entry: 0 where one class is certain, 1 where all are alike."""
        logs = probabilities.clamp_min(1e-12).log_()
        return -(probabilities * logs).sum(dim=1, keepdim=True) / math.log(probabilities.shape[1])

    def blank(self, device: torch.device | None = None, *, probabilities: bool = False) -> Tensor:
        """(C,) scores of a voxel that no window was run for: background, as logits or as probabilities."""
        import torch

        first, other = (1.0, 0.0) if probabilities else (BLANK_LOGIT, -BLANK_LOGIT)
        return torch.tensor([first] + [other] * len(self.names), device=device)

    def decide(self, scores: Tensor, thresholds: Thresholds = (), *, dim: int = 0) -> Tensor:
        """The class of each voxel.

        Args:
            scores: logits or probabilities, channels along ``dim``; probabilities where there are thresholds.
            thresholds: a voxel is the first of these classes whose probability is at least this; no other voxel is one
                of them, the other classes share the rest by arg-max.
            dim: 0, or 1 of two-dimensional scores, where the channels of a voxel lie side by side in memory.

        Returns:
            (...) uint8; among equals the lower class.
        """
        import torch

        if dim == 1:
            return self.decide(scores.T, thresholds) if thresholds else scores.argmax(dim=1).to(torch.uint8)
        best = scores[0].clone()
        classes = torch.zeros(best.shape, dtype=torch.uint8, device=scores.device)
        late = {index for index, _ in thresholds}
        for index in range(1, len(scores)):
            if index not in late:
                # a class at a time: an arg-max over the first axis jumps through memory
                classes.masked_fill_(scores[index] > best, index)
                torch.maximum(best, scores[index], out=best)
        for index, least in reversed(thresholds):
            classes.masked_fill_(scores[index] >= least, index)
        return classes
