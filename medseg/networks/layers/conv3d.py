"""A 3D convolution that trains rightly on the CPU where the map is shorter than the kernel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Conv3d(nn.Conv3d):
    """``nn.Conv3d``, but zero-padded by hand on the CPU where a kernel is longer than the map.

    There oneDNN (torch 2.13, processors with bfloat16) gives wrong weight gradients in bfloat16, a 3x3x3 kernel on a
    map of two cells included, and with long kernels it overwrites memory that is not its own. Without padding of its
    own it is right. Dilated kernels are right as they are.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, in, I, J, K) -> (B, out, ...), as ``nn.Conv3d``."""
        short = any(n < k for n, k in zip(input.shape[2:], self.kernel_size, strict=True))
        if not short or input.device.type != "cpu" or max(self.dilation) > 1 or not torch.is_grad_enabled():
            return super().forward(input)
        assert not isinstance(self.padding, str)
        padded = F.pad(input, [p for p in reversed(self.padding) for _ in range(2)])
        return F.conv3d(padded, self.weight, self.bias, self.stride, groups=self.groups)
