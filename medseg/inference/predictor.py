"""Scores of a batch of windows: from one network or several, each seeing them mirrored and at other scales."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medseg.model.classes import Classes
from medseg.model.inference import Inference
from medseg.networks.layers.upsampling import resize
from medseg.types import AXES

Network = Callable[[Tensor], Tensor]
"""(B, C, i, j[, k]) float32 -> (B, num_classes, i, j[, k]) logits; a module in eval mode, or another runtime."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """Callable (B, C, i, j[, k]) windows -> (B, S, i, j[, k]) float32 scores.

    The scores are the network's logits; with ``probabilities`` the mean of all networks' probabilities, so that an
    ensemble is averaged window by window, and with ``spread`` the mean uncertainty of the single networks behind them.

    Attributes:
        networks: at least one; one alone where the scores are logits.
        classes: what their channels mean.
        settings: how often each window is seen: ``flip_axes``, ``scales`` and ``scale_fusion``.
        device: where the networks run.
        probabilities: average probabilities instead of giving logits.
        spread: add the mean uncertainty (in [0, 1], of the largest possible) as one more channel.

    Raises:
        ValueError: networks whose logits would have to be averaged.
    """

    networks: Sequence[Network]
    classes: Classes
    settings: Inference
    device: torch.device
    probabilities: bool = False
    spread: bool = False

    def __post_init__(self) -> None:
        if not self.networks or ((len(self.networks) > 1 or self.spread) and not self.probabilities):
            raise ValueError("expected one network, or several whose probabilities are averaged")

    def __call__(self, batch: Tensor, limit: int) -> Tensor:
        """``limit``: how many windows, mirrored ones too, go through a network at once."""
        batch = batch.to(self.device)
        if not self.probabilities:
            return self._at_scales(self.networks[0], batch, limit)
        return torch.stack([self._probabilities(network, batch, limit) for network in self.networks]).mean(dim=0)

    def blank(self) -> Tensor:
        """(S,) the scores of a voxel that no window was run for, on the device."""
        blank = self.classes.blank(self.device, probabilities=self.probabilities)
        return torch.cat([blank, blank.new_zeros(1)]) if self.spread else blank

    def _probabilities(self, network: Network, batch: Tensor, limit: int) -> Tensor:
        probabilities = self.classes.probabilities(self._at_scales(network, batch, limit))
        if not self.spread:
            return probabilities
        return torch.cat([probabilities, self.classes.uncertainty(probabilities)], dim=1)

    def _at_scales(self, network: Network, batch: Tensor, limit: int) -> Tensor:
        scales, largest = self.settings.scales, self.settings.scale_fusion == "max"
        size, fused = batch.shape[2:], None
        for scale in scales:
            seen = resize(batch, [max(1, round(n * scale)) for n in size])
            out = resize(self._with_flips(network, seen, limit), size)
            fused = out if fused is None else (torch.maximum if largest else torch.add)(fused, out)
        assert fused is not None
        return fused if largest else fused / len(scales)

    def _with_flips(self, network: Network, batch: Tensor, limit: int) -> Tensor:
        axes = [AXES[a] + 2 for a in self.settings.flip_axes if AXES[a] + 2 < batch.ndim]
        combinations = [c for n in range(len(axes) + 1) for c in itertools.combinations(axes, n)]
        if len(combinations) == 1:
            return network(batch).float()
        views = torch.cat([batch.flip(flipped) for flipped in combinations])
        logits = torch.cat([network(part).float() for part in torch.split(views, limit)])
        unflipped = [part.flip(c) for part, c in zip(torch.split(logits, len(batch)), combinations, strict=True)]
        return torch.stack(unflipped).mean(dim=0)
