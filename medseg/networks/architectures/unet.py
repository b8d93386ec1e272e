"""MONAI's residual U-Net, the yardstick: Kerfoot et al. 2019, doi 10.1007/978-3-030-12029-0_40."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.layers.blocks import Norm, apply
from medseg.networks.layers.sizes import crop, pad_to_multiple
from medseg.networks.options import Count, Probability

Channels = Annotated[tuple[Count, ...], Field(min_length=2)]
Stride = Count | tuple[Count, ...]


class UNet(nn.Module):
    """``monai.networks.nets.UNet`` for any input size: pads to a multiple of its stride and crops back.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        channels: of each level, fine to coarse.
        strides: between the levels, one fewer than channels; a list such as [2, 2, 1] strides each axis its own way.
        num_res_units: convolutions in each residual unit; 0 has plain convolutions.
        norm: `instance` is MONAI's (without learned scale), and its parameter count. `group` has as many groups as
            divide all channels and the classes, because MONAI also normalises the score maps.
        dropout: after each convolution.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        channels: Channels = (16, 32, 64, 128, 256),
        strides: tuple[Stride, ...] = (2, 2, 2, 2),
        num_res_units: Annotated[int, Field(ge=0)] = 2,
        norm: Norm = "instance",
        dropout: Probability = 0.0,
    ) -> None:
        from monai.networks.nets.unet import UNet as MonaiUNet  # seconds to import

        super().__init__()
        if len(strides) != len(channels) - 1:
            raise ConfigError(
                f"network.strides: expected {len(channels) - 1} (one between each two of {len(channels)} channels), "
                f"found {len(strides)}"
            )
        per_axis = [(s,) * spatial_dims if isinstance(s, int) else tuple(s) for s in strides]
        for level in per_axis:
            if len(level) != spatial_dims:
                raise ConfigError(
                    f"network.strides: expected {spatial_dims} numbers for each level, found {list(level)}"
                )
        self.strides = tuple(math.prod(axis) for axis in zip(*per_axis, strict=True))
        self.unet: nn.Module = MonaiUNet(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            out_channels=num_classes,
            channels=channels,
            strides=per_axis,
            num_res_units=num_res_units,
            norm=_monai_norm(norm, math.gcd(num_classes, *channels)),
            dropout=dropout,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, I, J[, K]) -> logits (B, num_classes, I, J[, K])."""
        return crop(apply(self.unet, pad_to_multiple(x, self.strides)), x.shape[2:])


def _monai_norm(norm: Norm, groups: int) -> Any:
    if norm == "none":
        return None
    return ("group", {"num_groups": groups}) if norm == "group" else norm
