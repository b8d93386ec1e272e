"""From coarse to fine: interpolation, bilinear deconvolution, unpooling and pixel shuffle, in 2D and 3D.

Voxel centres are aligned, not corners (``align_corners=False``), here and in all networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.networks.layers.blocks import CONV_TRANSPOSE

Upsampling = Literal["fixed", "depthwise", "dense"]
"""`fixed` interpolation, or a deconvolution learned per class (`depthwise`) or across classes (`dense`)."""

LINEAR = {2: "bilinear", 3: "trilinear"}


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, I, J[, K]) linearly interpolated to ``size``; unchanged when it has that size."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=list(size), mode=LINEAR[x.ndim - 2], align_corners=False)


def linear_kernel(factors: Sequence[int]) -> Tensor:
    """The deconvolution kernel that interpolates linearly by a whole factor f for each axis.

    An axis has 2f taps (f even) or 2f - 1 (f odd), with weights 1 - |i - c| / f about the centre c; the axes multiply.
    The kernel sums to the product of the factors. With padding (taps - f) / 2 it equals interpolation but for a border
    of f voxels, where the deconvolution sees zeros.
    """
    kernel = torch.ones(())
    for factor in factors:
        taps = 2 * factor - factor % 2
        position = torch.arange(taps, dtype=torch.float32)
        kernel = kernel.unsqueeze(-1) * (1 - (position - (taps - 1) / 2).abs() / factor)
    return kernel


class Upsample(nn.Module):
    """Enlarge a map of class scores by whole factors: (B, C, I, J[, K]) -> (B, C, f I, f J[, f K]).

    Args:
        channels: classes.
        factors: f, one number an axis.
        method: `fixed` has no parameters; `depthwise` has one kernel a class, `dense` one for each pair of classes,
            both without bias and starting as linear interpolation.
    """

    def __init__(self, channels: int, factors: Sequence[int], *, method: Upsampling) -> None:
        super().__init__()
        self.factors = tuple(factors)
        self.deconv: nn.Module | None = None
        if method == "fixed":
            return
        taps = linear_kernel(factors).shape
        self.deconv = CONV_TRANSPOSE[len(taps)](
            channels,
            channels,
            tuple(taps),
            stride=self.factors,
            padding=tuple((n - f) // 2 for n, f in zip(taps, factors, strict=True)),
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
        kernel = linear_kernel(self.factors).to(weight)
        with torch.no_grad():
            weight.zero_()
            for c in range(weight.shape[0]):
                weight[c, c if weight.shape[1] > 1 else 0] = kernel

    def forward(self, x: Tensor) -> Tensor:
        """Scores at f times the size."""
        if self.deconv is None:
            return resize(x, [n * f for n, f in zip(x.shape[2:], self.factors, strict=True)])
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


def pixel_shuffle(x: Tensor, factors: Sequence[int]) -> Tensor:
    """Lay blocks of channels out over space: (B, C f g h, I, J, K) -> (B, C, f I, g J, h K), or two axes likewise.

    The channels of a block stand together, its last axis fastest, as in ``F.pixel_shuffle``: that one takes 2D alone,
    and a volume's first axis for channels, without a word.

    Args:
        x: channels a multiple of the product of the factors.
        factors: one number an axis.
    """
    dims, channels = len(factors), x.shape[1] // math.prod(factors)
    blocks = x.reshape(x.shape[0], channels, *factors, *x.shape[2:])
    inner_to_outer = [axis for a in range(dims) for axis in (2 + dims + a, 2 + a)]
    size = [n * f for n, f in zip(x.shape[2:], factors, strict=True)]
    return blocks.permute(0, 1, *inner_to_outer).reshape(*blocks.shape[:2], *size)
