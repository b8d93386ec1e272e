"""MobileNetV2 without the classifier: Sandler et al. 2018, arXiv 1801.04381."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from medseg.networks.encoders.strides import Axes, Stage, StemStride, plan_stages, stem_strides
from medseg.networks.layers.blocks import Norm, apply, conv, conv_norm_act, initialise, norm_layer, scaled

SETTINGS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks and stride of each stage (table 2 of the paper)."""

TAPPED_STAGES = (0, 1, 2, 4, 6)
"""Stages that end a stride: their outputs are the feature maps."""


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, linear 1x1 projection; a shortcut where the shape allows."""

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, expansion: int, stage: Stage, *, norm: Norm
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.has_shortcut = max(stage.stride) == 1 and in_channels == out_channels
        expand = [conv_norm_act(spatial_dims, in_channels, hidden, 1, norm=norm, act=nn.ReLU6)] if expansion > 1 else []
        geometry = {"stride": stage.stride, "dilation": stage.first_dilation, "groups": hidden}
        self.conv = nn.Sequential(
            *expand,
            conv_norm_act(spatial_dims, hidden, hidden, stage.kernel, norm=norm, act=nn.ReLU6, **geometry),
            conv(spatial_dims, hidden, out_channels, 1, bias=norm == "none"),
            norm_layer(norm, out_channels, spatial_dims),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, I, J[, K]) -> (B, out, ...)."""
        y = apply(self.conv, x)
        return x + y if self.has_shortcut else y


class MobileNetV2(nn.Module):
    """A strided convolution and seven stages of inverted residuals.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        output_stride: of the last map; stages beyond it dilate their depthwise convolutions (see ``strides``).
        stem_stride: of the first convolution, 1 or 2, for all axes or each.
        norm: after each convolution.
        width: factor on all channels.
        flat_levels: first levels that leave the last axis alone (see ``strides.Axes``).
        last_conv: the 1x1 to 1280 channels that classifiers have; DeepLab stops before it.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        *,
        output_stride: int = 32,
        stem_stride: StemStride = 2,
        norm: Norm = "batch",
        width: float = 1.0,
        flat_levels: int = 0,
        last_conv: bool = False,
    ) -> None:
        super().__init__()
        axes = Axes(spatial_dims, flat_levels)
        start = stem_strides(stem_stride, axes)
        stages = plan_stages([s for *_, s in SETTINGS], start=start, output_stride=output_stride, axes=axes)

        channels = scaled(32, width)
        self.features = nn.Sequential(
            conv_norm_act(spatial_dims, in_channels, channels, axes.at(0, 3), norm=norm, act=nn.ReLU6, stride=start)
        )
        ends = []
        for stage, (expansion, base, count, _) in zip(stages, SETTINGS, strict=True):
            out_channels = scaled(base, width)
            for geometry in (stage, *(stage.rest,) * (count - 1)):
                self.features.append(
                    InvertedResidual(spatial_dims, channels, out_channels, expansion, geometry, norm=norm)
                )
                channels = out_channels
            ends.append((len(self.features) - 1, channels))
        if last_conv:
            channels_last = max(1280, scaled(1280, width))  # the paper never narrows it
            self.features.append(conv_norm_act(spatial_dims, channels, channels_last, 1, norm=norm, act=nn.ReLU6))
            ends[-1] = (len(self.features) - 1, channels_last)

        self.taps = tuple(ends[s][0] for s in TAPPED_STAGES)
        self.channels = tuple(ends[s][1] for s in TAPPED_STAGES)
        self.strides = tuple(stages[s].total for s in TAPPED_STAGES)
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps at the end of each stride."""
        return list(self.maps(x))

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        """The same, each when it is asked for."""
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                yield x
