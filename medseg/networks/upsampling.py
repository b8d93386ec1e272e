"""From coarse to fine: interpolation, bilinear deconvolution and unpooling, in 2D and 3D.

Voxel centres are aligned, not corners (``align_corners=False``), here and in all networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.networks.blocks import CONV_TRANSPOSE

Upsampling = Literal["fixed", "depthwise", "dense"]
"""`fixed` interpolation, or a deconvolution learned per class (`depthwise`) or across classes (`dense`)."""

LINEAR = {2: "bilinear", 3: "trilinear"}


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, I, J[, K]) linearly interpolated to ``size``; unchanged when it has that size."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=list(size), mode=LINEAR[x.ndim - 2], align_corners=False)


def linear_kernel(factor: int, spatial_dims: int) -> Tensor:
    """The deconvolution kernel that interpolates linearly by a whole factor f.

    One axis has 2f taps (f even) or 2f - 1 (f odd), with weights 1 - |i - c| / f about the centre c; the axes multiply.
    The kernel sums to f ** spatial_dims. With padding (taps - f) / 2 it equals interpolation but for a border of f
    voxels, where the deconvolution sees zeros.
    """
    taps = 2 * factor - factor % 2
    position = torch.arange(taps, dtype=torch.float32)
    axis = 1 - (position - (taps - 1) / 2).abs() / factor
    kernel = axis
    for _ in range(spatial_dims - 1):
        kernel = kernel.unsqueeze(-1) * axis
    return kernel


class Upsample(nn.Module):
    """Enlarge a map of class scores by a whole factor: (B, C, I, J[, K]) -> (B, C, f I, f J[, f K]).

    Args:
        spatial_dims: 2 or 3.
        channels: classes.
        factor: f.
        method: `fixed` has no parameters; `depthwise` has one kernel a class, `dense` one for each pair of classes,
            both without bias and starting as linear interpolation.
    """

    def __init__(self, spatial_dims: int, channels: int, factor: int, *, method: Upsampling) -> None:
        super().__init__()
        self.factor = factor
        self.deconv: nn.Module | None = None
        if method == "fixed":
            return
        kernel = linear_kernel(factor, spatial_dims)
        self.deconv = CONV_TRANSPOSE[spatial_dims](
            channels,
            channels,
            len(kernel),
            stride=factor,
            padding=(len(kernel) - factor) // 2,
            groups=channels if method == "depthwise" else 1,
            bias=False,
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Make the deconvolution a linear interpolation of each class by itself."""
        if self.deconv is None:
            return
        weight = self.deconv.weight  # (in, out / groups, *taps)
        assert isinstance(weight, Tensor)
        kernel = linear_kernel(self.factor, weight.ndim - 2).to(weight)
        with torch.no_grad():
            weight.zero_()
            for c in range(weight.shape[0]):
                weight[c, c if weight.shape[1] > 1 else 0] = kernel

    def forward(self, x: Tensor) -> Tensor:
        """Scores at f times the size."""
        if self.deconv is None:
            return F.interpolate(x, scale_factor=self.factor, mode=LINEAR[x.ndim - 2], align_corners=False)
        y: Tensor = self.deconv(x)
        return y


def unpool(x: Tensor, indices: Tensor, size: Sequence[int]) -> Tensor:
    """Put each value back where max-pooling found it; zeros elsewhere.

    The same as torch's ``max_unpool`` with ``output_size``, but one code for 2D and 3D that torch also accepts in
    deterministic mode (the windows do not overlap, so no place is written twice).

    Args:
        x: (B, C, I, J[, K]) pooled map.
        indices: of the same shape, as ``max_pool(..., return_indices=True)`` gives them; they hold for the map that was
            pooled, so nothing may be padded, cropped or flipped in between.
        size: spatial size before pooling.
    """
    flat = x.new_zeros(*x.shape[:2], math.prod(size)).scatter(2, indices.flatten(2), x.flatten(2))
    return flat.view(*x.shape[:2], *size)
