"""A 2D convolution that trains safely on the CPU in channels_last."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Conv2d(nn.Conv2d):
    """``nn.Conv2d``, but a strided 1x1 kernel takes every stride-th pixel first: the same function.

    oneDNN (torch 2.13) overwrites memory that is not its own in the backward pass of a strided 1x1 convolution in
    channels_last, the shortcut of every ResNet; few channels make it likely.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, in, I, J) -> (B, out, ...), as ``nn.Conv2d``."""
        if max(self.kernel_size) > 1 or max(self.stride) == 1 or input.device.type != "cpu":
            return super().forward(input)
        picked = input[..., :: self.stride[0], :: self.stride[1]]
        return F.conv2d(picked, self.weight, self.bias, groups=self.groups)
