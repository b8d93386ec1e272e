"""Scores of a batch of windows: from one network or several, each seeing them mirrored and at other scales."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from medseg.inference.windows import Windows
from medseg.networks.layers.upsampling import resize

Network = Callable[[Tensor], Tensor]
"""(B, C, i, j[, k]) float32 -> (B, num_classes, i, j[, k]) logits; a module in eval mode, or another runtime."""


class Predictor:
    """Callable (B, C, i, j[, k]) windows -> (B, S, i, j[, k]) float32 scores.

    The scores are the network's logits; with ``probabilities`` the mean of all networks' softmax, so that an ensemble
    is averaged window by window, and with ``spread`` the mean entropy of the single networks behind them.

    Args:
        networks: at least one; one alone where the scores are logits.
        windows: how often each window is seen: ``flip_axes``, ``scales`` and ``scale_fusion``.
        device: where the networks run.
        probabilities: average probabilities instead of giving logits.
        spread: add the mean entropy (in [0, 1], of the largest possible) as one more channel.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        windows: Windows,
        device: torch.device | None = None,
        *,
        probabilities: bool = False,
        spread: bool = False,
    ) -> None:
        if not networks or (len(networks) > 1 and not probabilities) or (spread and not probabilities):
            raise ValueError("expected one network, or several whose probabilities are averaged")
        self.networks = tuple(networks)
        self.windows = windows
        self.device = device or _device_of(networks[0])
        self.probabilities, self.spread = probabilities, spread

    def __call__(self, batch: Tensor, limit: int) -> Tensor:
        """``limit``: how many windows, mirrored ones too, go through a network at once."""
        batch = batch.to(self.device)
        if not self.probabilities:
            return _at_scales(self.networks[0], batch, self.windows, limit)
        return torch.stack([self._probabilities(network, batch, limit) for network in self.networks]).mean(dim=0)

    def _probabilities(self, network: Network, batch: Tensor, limit: int) -> Tensor:
        probabilities = _at_scales(network, batch, self.windows, limit).softmax(dim=1)
        return torch.cat([probabilities, entropy(probabilities)], dim=1) if self.spread else probabilities


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy over dimension 1, which stays with one entry: 0 where one class is certain, 1 where all are alike."""
    logs = probabilities.clamp_min(1e-12).log_()
    return -(probabilities * logs).sum(dim=1, keepdim=True) / math.log(probabilities.shape[1])


def _device_of(network: Network) -> torch.device:
    parameters = network.parameters() if isinstance(network, nn.Module) else iter(())
    return next((p.device for p in parameters), torch.device("cpu"))


def _at_scales(network: Network, batch: Tensor, windows: Windows, limit: int) -> Tensor:
    size, fuse = batch.shape[2:], torch.maximum if windows.scale_fusion == "max" else torch.add
    fused: Tensor | None = None
    for scale in windows.scales:
        seen = resize(batch, [max(1, round(n * scale)) for n in size])
        out = resize(_with_flips(network, seen, windows.flip_axes, limit), size)
        fused = out if fused is None else fuse(fused, out)
    assert fused is not None
    return fused if windows.scale_fusion == "max" else fused / len(windows.scales)


def _with_flips(network: Network, batch: Tensor, flip_axes: Sequence[int], limit: int) -> Tensor:
    axes = [a + 2 for a in flip_axes if a + 2 < batch.ndim]
    combinations = [c for n in range(len(axes) + 1) for c in itertools.combinations(axes, n)]
    if len(combinations) == 1:
        return network(batch).float()
    views = torch.cat([batch.flip(flipped) for flipped in combinations])
    logits = torch.cat([network(part).float() for part in torch.split(views, limit)])
    unflipped = [part.flip(c) for part, c in zip(torch.split(logits, len(batch)), combinations, strict=True)]
    return torch.stack(unflipped).mean(dim=0)
