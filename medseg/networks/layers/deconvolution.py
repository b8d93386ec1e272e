"""Learned transposed convolutions, with weights that keep the activations' scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from medseg.networks.layers.blocks import CONV_TRANSPOSE, every_axis


def deconv(
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    kernel: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
) -> nn.Module:
    """A transposed convolution with bias, He-initialised; n voxels become stride * (n - 1) + kernel - 2 * padding.

    Its weights are (in, out, ...), the other way round than a convolution's, and a voxel of the result sees only
    kernel / stride of the taps along an axis: torch's own fan-in counts neither.
    """
    kernels, strides, paddings = (every_axis(n, spatial_dims) for n in (kernel, stride, padding))
    layer = CONV_TRANSPOSE[spatial_dims](in_channels, out_channels, kernels, stride=strides, padding=paddings)
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    nn.init.normal_(weight, std=math.sqrt(2 * math.prod(strides) / (in_channels * math.prod(kernels))))
    nn.init.zeros_(bias)
    return layer
