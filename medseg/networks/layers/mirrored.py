"""VGG16 seen in a mirror: the decoder of SegNet and DeconvNet, which unpools where the encoder pooled."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from medseg.networks.encoders.strides import Axes, PerAxis
from medseg.networks.encoders.vgg import VGG16
from medseg.networks.layers.blocks import Layer, Norm, conv, norm_layer
from medseg.networks.layers.upsampling import unpool

Switches = tuple[Tensor, tuple[int, ...]]
"""Of one max-pool: the indices of its maxima, and the spatial size before it."""


def pool(encoder: VGG16, x: Tensor) -> tuple[Tensor, list[Switches]]:
    """The encoder's last map, and the switches of all max-pools, fine to coarse."""
    y, switches = x, []
    for pooled, indices, before in encoder.stages(x):
        y = pooled
        switches.append((indices, before))
    return y, switches


class MirroredDecoder(nn.ModuleList):
    """As many stages as the encoder has, coarse to fine, each an unpooling and as many convolutions.

    A stage keeps its width but for its last convolution, which takes that of the next finer stage. Convolutions have a
    bias beside their norm, as in both papers' nets.

    Args:
        encoder: what is mirrored.
        axes: its flat levels.
        norm: after each convolution.
        layer: the convolution, called as ``layer(spatial_dims, in_channels, out_channels, kernel)``.
        last: convolutions of the finest stage; None is as many as the encoder's.
        dropout: after the coarsest stage.
    """

    def __init__(
        self,
        encoder: VGG16,
        axes: Axes,
        *,
        norm: Norm,
        layer: Layer = conv,
        last: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        stages = []
        levels = range(len(encoder.widths) - 1, 0, -1)
        for level, (widths, finer) in zip(levels, pairwise(reversed(encoder.widths)), strict=True):
            stages.append(_stage(widths[-1], finer[-1], len(widths), axes.at(level, 3), norm, layer))
        finest = encoder.widths[0]
        stages.append(_stage(finest[-1], finest[-1], last or len(finest), axes.at(0, 3), norm, layer))
        stages[0].append(nn.Dropout(dropout))
        super().__init__(stages)

    def forward(self, x: Tensor, switches: Sequence[Switches]) -> Tensor:
        """(B, C, i, j[, k]) of the last max-pool -> (B, C', I, J[, K]).

        Args:
            x: at the size of the last max-pool.
            switches: of every max-pool, fine to coarse.
        """
        for stage, (indices, before) in zip(self, reversed(switches), strict=True):
            x = stage(unpool(x, indices, before))
        return x


def _stage(channels: int, out_channels: int, count: int, kernel: PerAxis, norm: Norm, layer: Layer) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in [channels] * (count - 1) + [out_channels]:
        layers += [layer(len(kernel), channels, width, kernel), norm_layer(norm, width, len(kernel)), nn.ReLU()]
    return nn.Sequential(*layers)
