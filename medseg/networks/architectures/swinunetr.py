"""Swin UNETR: Hatamizadeh et al. 2022, arXiv 2201.01266; the network is MONAI's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch.overrides import TorchFunctionMode

from medseg.networks.layers.blocks import Norm
from medseg.networks.layers.monai_network import MonaiNetwork, with_norm
from medseg.networks.options import Count, Probability

STRIDE = 32


class SwinUNETR(MonaiNetwork):
    """``monai.networks.nets.SwinUNETR`` for any input size: a Swin transformer and a convolutional decoder.

    Attention looks at windows of cells, at strides 2 to 16. A map smaller than a window becomes one, and MONAI then
    reads the window's learned position bias in another order: segment with windows of the training patch's size.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        feature_size: channels of the first level, a multiple of 12. The paper has 48.
        window_size: cells along each axis of a window of attention; the paper's is 7.
        v2: a residual convolution block before each stage of the transformer (He et al. 2023).
        norm: of the convolutions; `instance` is MONAI's, without a learned scale. Attention keeps its layer norms.
        dropout: in the transformer, after attention and in the perceptrons.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        feature_size: Annotated[int, Field(ge=12, multiple_of=12)] = 24,
        window_size: Count = 7,
        v2: bool = False,
        norm: Norm = "instance",
        dropout: Probability = 0.0,
    ) -> None:
        from monai.networks.nets.swin_unetr import SwinUNETR as MonaiSwinUNETR  # seconds to import

        with _Readable():
            network = MonaiSwinUNETR(
                in_channels,
                num_classes,
                window_size=window_size,
                feature_size=feature_size,
                drop_rate=dropout,
                spatial_dims=spatial_dims,
                use_v2=v2,
            )
        super().__init__(with_norm(network, norm, spatial_dims), (STRIDE,) * spatial_dims)


class _Readable(TorchFunctionMode):
    """Keeps ``linspace`` on the CPU: MONAI reads its numbers, and the meta device, where we count, has none."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return func(*args, **{**(kwargs or {}), **({"device": "cpu"} if func is torch.linspace else {})})
