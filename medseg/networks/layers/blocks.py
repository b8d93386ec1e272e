"""Layers that all architectures share, one code for 2D and 3D, and how they are initialised.

Nothing here works in place, so that a tensor may be kept for a shortcut or a skip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medseg.networks.layers.conv2d import Conv2d
from medseg.networks.layers.conv3d import Conv3d

Norm = Literal["batch", "instance", "group", "none"]
"""Normalisation after a convolution; `none` gives the convolution a bias instead."""

Layer = Callable[..., nn.Module]
"""A constructor of layers."""

CONV: dict[int, Layer] = {2: Conv2d, 3: Conv3d}
CONV_TRANSPOSE: dict[int, Layer] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
MAX_POOL: dict[int, Layer] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
BATCH_NORM: dict[int, Layer] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE_NORM: dict[int, Layer] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


def scaled(channels: int, width: float) -> int:
    """Channels at a width: the nearest multiple of 8, at least 8; unchanged at width 1."""
    return channels if width == 1 else max(8, int(channels * width / 8 + 0.5) * 8)


def norm_layer(norm: Norm, channels: int, spatial_dims: int) -> nn.Module:
    """The normalisation of a feature map (B, channels, I, J[, K]).

    Batch and instance need two values a channel in train mode (instance in eval mode too): networks pad inputs that
    would leave one, see ``sizes.pad_small``. Group uses at most 32 groups of at least two channels.

    Raises:
        ValueError: another name.
    """
    if norm == "batch":
        return BATCH_NORM[spatial_dims](channels)
    if norm == "instance":
        return INSTANCE_NORM[spatial_dims](channels, affine=True)
    if norm == "group":
        return nn.GroupNorm(_groups(channels), channels)
    if norm == "none":
        return nn.Identity()
    raise ValueError(f"norm: expected batch, instance, group or none, found {norm!r}")


def pooled_norm(norm: Norm, channels: int) -> nn.Module:
    """The normalisation of a map that was pooled to one voxel.

    Batch norm raises there at batch 1, instance norm always, so every norm but `none` becomes a group norm with one
    group (all channels of a sample): the same 2 * channels parameters as the batch norm of the papers.
    """
    return nn.Identity() if norm == "none" else nn.GroupNorm(1, channels)


def conv(
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    kernel: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: bool = True,
) -> nn.Module:
    """A convolution that keeps the size at stride 1 (odd kernels) and gives ceil(size / stride) otherwise.

    Kernel, stride and dilation are one number for all axes or one for each.
    """
    kernels, strides, dilations = (every_axis(n, spatial_dims) for n in (kernel, stride, dilation))
    return CONV[spatial_dims](
        in_channels,
        out_channels,
        kernels,
        stride=strides,
        padding=tuple(d * (k // 2) for k, d in zip(kernels, dilations, strict=True)),
        dilation=dilations,
        groups=groups,
        bias=bias,
    )


def every_axis(number: int | Sequence[int], spatial_dims: int) -> tuple[int, ...]:
    """One number an axis."""
    return (number,) * spatial_dims if isinstance(number, int) else tuple(number)


def conv_norm_act(
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    kernel: int | Sequence[int],
    *,
    norm: Norm,
    act: Layer = nn.ReLU,
    **geometry: Any,
) -> nn.Sequential:
    """Convolution, norm, activation; ``geometry`` is stride, dilation, groups of ``conv``."""
    return nn.Sequential(
        conv(spatial_dims, in_channels, out_channels, kernel, bias=norm == "none", **geometry),
        norm_layer(norm, out_channels, spatial_dims),
        act(),
    )


def separable_conv_norm_act(
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    kernel: int | Sequence[int],
    *,
    norm: Norm,
    dilation: int | Sequence[int] = 1,
) -> nn.Sequential:
    """A depthwise and a pointwise convolution, each with norm and ReLU (DeepLab v3+)."""
    return nn.Sequential(
        conv_norm_act(spatial_dims, in_channels, in_channels, kernel, norm=norm, dilation=dilation, groups=in_channels),
        conv_norm_act(spatial_dims, in_channels, out_channels, 1, norm=norm),
    )


def initialise(*parts: nn.Module) -> None:
    """He-initialise every convolution by its fan-in, zero the biases; norms keep torch's 1 and 0.

    Fan-in, because it keeps the activations' scale in depthwise convolutions too and where there is no norm. Encoders
    initialise themselves, so an architecture names only its own parts.
    """
    for module in nn.ModuleList(parts).modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def initialise_classifier(layer: nn.Module) -> None:
    """Small weights for a convolution that gives logits: N(0, 0.01), as in the DeepLab papers."""
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            else:
                parameter.normal_(std=0.01)


def apply(layer: nn.Module, x: Tensor) -> Tensor:
    """Call a layer that maps one tensor to one tensor (torch types the call as Any)."""
    y: Tensor = layer(x)
    return y


def _groups(channels: int) -> int:
    return next(g for g in (32, 16, 8, 4, 2, 1) if channels % g == 0 and (channels >= 2 * g or g == 1))
