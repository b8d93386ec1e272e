"""FC-DenseNet, the Tiramisu: Jégou, Drozdzal, Vazquez, Romero and Bengio 2017, arXiv 1611.09326."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated, Any, Literal

import torch
import torch.utils.checkpoint
from pydantic import Field
from torch import Tensor, nn

from medseg.networks.encoders.strides import Axes, PerAxis
from medseg.networks.layers.blocks import MAX_POOL, Norm, apply, conv, initialise, initialise_classifier, norm_layer
from medseg.networks.layers.deconvolution import deconv
from medseg.networks.layers.sizes import crop, pad_small
from medseg.networks.options import FlatLevels, Probability, Width

Variant = Literal[56, 67, 103]

VARIANTS: dict[Variant, tuple[int, tuple[int, ...]]] = {
    56: (12, (4, 4, 4, 4, 4, 4)),
    67: (16, (5, 5, 5, 5, 5, 5)),
    103: (16, (4, 5, 7, 10, 12, 15)),
}
"""Growth, and layers of the dense block at each resolution, fine to coarse."""


class FCDenseNet(nn.Module):
    """A U-Net of dense blocks. On the way up only what a block has added is enlarged, not its input.

    On the way down, and in the last block, a block's input is kept beside what it adds; on the way up the skip carries
    it. Convolutions have a bias beside their norm, as in the authors' code. Pooling rounds up and the enlarged map is
    cut to the skip's size, so that any size is taken.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        variant: number of layers; 56 and 67 suit volumes.
        pools: halvings, the paper has 5; 3 or 4 suit patches of 64 voxels. With fewer, the coarsest block is the one
            that the variant has at that resolution on the way down.
        checkpoint: keep no activations inside the dense blocks but recompute them in the backward pass: less memory, a
            third more time, the same numbers.
        dropout: after every convolution but the first and the last.
        norm: before every convolution but the first and the last.
        width: factor on the growth and on the first convolution's channels, to multiples of 4.
        flat_levels: first levels that neither convolve nor pool along the last axis, for thick slices (3D only).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        variant: Variant = 103,
        pools: Annotated[int, Field(ge=1, le=5)] = 5,
        checkpoint: bool = False,
        dropout: Probability = 0.2,
        norm: Norm = "batch",
        width: Width = 1.0,
        flat_levels: FlatLevels = 0,
    ) -> None:
        super().__init__()
        axes = Axes(spatial_dims, flat_levels)
        growth, layers = VARIANTS[variant]
        growth, channels = _scaled(growth, width), _scaled(48, width)
        layers = layers[: pools + 1]
        kernels = [axes.at(level, 3) for level in range(pools + 1)]
        steps = [axes.at(level, 2) for level in range(pools)]
        self.minimum = tuple(math.prod(along) + 1 for along in zip(*steps, strict=True))
        """Smallest size that leaves two cells for the norms of the coarsest block."""

        def block(level: int, channels: int) -> DenseBlock:
            return DenseBlock(
                channels, growth, layers[level], kernels[level], norm=norm, dropout=dropout, checkpoint=checkpoint
            )

        self.first = conv(spatial_dims, in_channels, channels, kernels[0])
        self.down, self.pool = nn.ModuleList(), nn.ModuleList()
        skips = []
        for level, step in enumerate(steps):
            self.down.append(block(level, channels))
            channels += growth * layers[level]
            skips.append(channels)
            down = norm_act_conv(channels, channels, (1,) * spatial_dims, norm=norm, dropout=dropout)
            self.pool.append(nn.Sequential(down, MAX_POOL[spatial_dims](step, ceil_mode=True)))
        self.bottleneck = block(pools, channels)
        self.enlarge, self.up = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(pools)):
            new = growth * layers[level + 1]
            self.enlarge.append(deconv(spatial_dims, new, new, kernels[level], stride=steps[level]))
            channels = new + skips[level]
            self.up.append(block(level, channels))
        self.classifier = conv(spatial_dims, channels + growth * layers[0], num_classes, 1)
        initialise(self.first, self.down, self.pool, self.bottleneck, self.up)
        initialise_classifier(self.classifier)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, I, J[, K]) -> logits (B, num_classes, I, J[, K])."""
        y = apply(self.first, pad_small(x, self.minimum))
        skips = []
        for block, pool in zip(self.down, self.pool, strict=True):
            y = torch.cat([y, block(y)], dim=1)
            skips.append(y)
            y = pool(y)
        new = apply(self.bottleneck, y)
        for enlarge, block in zip(self.enlarge, self.up, strict=True):
            skip = skips.pop()
            # Pooled from the first voxel on, so the enlarged map, a voxel or two too long, begins where the skip does.
            y = torch.cat([crop(enlarge(new), skip.shape[2:]), skip], dim=1)
            new = block(y)
        return crop(apply(self.classifier, torch.cat([y, new], dim=1)), x.shape[2:])


class DenseBlock(nn.Module):
    """Layers that each see the block's input and all that the layers before have added.

    Args:
        in_channels: of the input.
        growth: channels that each layer adds.
        count: layers.
        kernel: of their convolutions, one number an axis.
        norm: before each convolution.
        dropout: after each.
        checkpoint: recompute each layer in the backward pass.
    """

    def __init__(
        self,
        in_channels: int,
        growth: int,
        count: int,
        kernel: PerAxis,
        *,
        norm: Norm,
        dropout: float,
        checkpoint: bool,
    ) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.layers = nn.ModuleList(
            norm_act_conv(in_channels + n * growth, growth, kernel, norm=norm, dropout=dropout) for n in range(count)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, I, J[, K]) -> what is new, (B, growth * count, I, J[, K])."""
        features = [x]
        for layer in self.layers:
            # The stacks of a block add up to the square of its layers: too much to keep all of them.
            recompute = self.checkpoint and torch.is_grad_enabled()
            features.append(_recomputed(layer, features) if recompute else _stacked(layer, *features))
        return torch.cat(features[1:], dim=1)


def norm_act_conv(in_channels: int, out_channels: int, kernel: PerAxis, *, norm: Norm, dropout: float) -> nn.Sequential:
    """Norm, ReLU, convolution with bias, dropout."""
    return nn.Sequential(
        norm_layer(norm, in_channels, len(kernel)),
        nn.ReLU(),
        conv(len(kernel), in_channels, out_channels, kernel),
        nn.Dropout(dropout),
    )


def _stacked(layer: nn.Module, *features: Tensor) -> Tensor:
    return apply(layer, torch.cat(features, dim=1))


def _recomputed(layer: nn.Module, features: list[Tensor]) -> Tensor:
    """``_stacked``, whose activations the backward pass computes again."""
    # Compiled, the running statistics move once anyway, and torch takes no contexts there.
    more: dict[str, Any] = {}
    if not torch.compiler.is_compiling():
        more["context_fn"] = lambda: (nullcontext(), _statistics_kept(layer))
    y: Tensor = torch.utils.checkpoint.checkpoint(_stacked, layer, *features, use_reentrant=False, **more)
    return y


@contextmanager
def _statistics_kept(layer: nn.Module) -> Iterator[None]:
    """Let the repetition move a copy of the running statistics, or each batch would count twice."""
    kept = [(part, name, buffer) for part in layer.modules() for name, buffer in part.named_buffers(recurse=False)]
    for part, name, buffer in kept:
        setattr(part, name, buffer.clone())
    try:
        yield
    finally:
        for part, name, buffer in kept:
            setattr(part, name, buffer)


def _scaled(channels: int, width: float) -> int:
    """The nearest multiple of 4, at least 4; unchanged at width 1. Finer than ``blocks.scaled``: growth is small."""
    return channels if width == 1 else max(4, int(channels * width / 4 + 0.5) * 4)
