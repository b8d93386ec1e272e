"""Instance and group norm whose sums stay exact in float32, for runtimes that add up voxel after voxel."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_BLOCK = 8
"""Largest edge of a block: 512 voxels are summed with an error of about 1e-6, a window of 600,000 with one of 1e-4."""

_POOLS = {2: F.avg_pool2d, 3: F.avg_pool3d}


class BlockwiseNorm(nn.Module):
    """A norm's answer, with mean and variance taken from the means of small blocks.

    Where most of a window has one value, as the air around a body has, each addition to a long sum is rounded the same
    way, and the errors add up: OpenVINO's norms are then 3e-4 off (measured), enough to move a mask's border.

    Args:
        norm: whose weights and groups are used, in eval mode; without running statistics.
    """

    def __init__(self, norm: nn.InstanceNorm2d | nn.InstanceNorm3d | nn.GroupNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, features: Tensor) -> Tensor:
        """Normalise.

        Args:
            features: (batch, channels, *spatial), two or three spatial axes.

        Returns:
            What ``norm`` gives for them.
        """
        centred = features - self._mean(features)
        scale = torch.rsqrt(self._mean(centred * centred) + self.norm.eps)
        if self.norm.weight is None:
            return centred * scale
        shape = (1, -1, *(1 for _ in features.shape[2:]))
        return centred * (scale * self.norm.weight.view(shape)) + self.norm.bias.view(shape)

    def _mean(self, features: Tensor) -> Tensor:
        """Of each channel's group, shaped (batch, channels, 1, 1[, 1])."""
        spatial = features.ndim - 2
        means: Tensor = _POOLS[spatial](features, [_divisor(n) for n in features.shape[2:]])
        means = means.mean(tuple(range(2, features.ndim)), keepdim=True)
        if isinstance(self.norm, nn.GroupNorm):
            size = self.norm.num_channels // self.norm.num_groups
            grouped = means.reshape(-1, self.norm.num_groups, size).mean(2, keepdim=True).expand(-1, -1, size)
            means = grouped.reshape(-1, self.norm.num_channels, *(1 for _ in range(spatial)))
        return means


def with_blockwise_norms(network: nn.Module) -> nn.Module:
    """A copy of a network in which instance and group norms are blockwise; the weights are copied too."""
    changed = copy.deepcopy(network)
    for module in list(changed.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.GroupNorm) or (
                isinstance(child, nn.InstanceNorm2d | nn.InstanceNorm3d) and not child.track_running_stats
            ):
                setattr(module, name, BlockwiseNorm(child))
    return changed


def _divisor(length: int) -> int:
    """Voxels of a block along an axis: blocks of one size fill it, so that the mean of their means is the mean."""
    return max(math.gcd(length, size) for size in range(1, _BLOCK + 1))
