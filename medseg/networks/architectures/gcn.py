"""GCN, large kernels: Peng, Zhang, Yu, Luo and Sun 2017, arXiv 1703.02719."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.encoders import Backbone
from medseg.networks.layers.blocks import Layer, apply, conv, every_axis, initialise, initialise_classifier
from medseg.networks.layers.conv3d import Conv3d
from medseg.networks.layers.encoder_network import EncoderNetwork
from medseg.networks.layers.patches import cells
from medseg.networks.layers.sizes import crop, pad_small
from medseg.networks.layers.upsampling import Upsample, Upsampling
from medseg.networks.options import Count, Probability

AXIS_CONV: dict[int, Layer] = {2: nn.Conv2d, 3: Conv3d}
"""For kernels that may be longer than the map."""

METHODS: dict[str, Upsampling] = {"deconv": "dense", "linear": "fixed"}


class GCN(EncoderNetwork):
    """Scores every stage of the encoder with large kernels, refines the scores, and adds them up coarse to fine.

    The kernels are built of one-axis convolutions (``GlobalConvolution``), and every sum is refined by a residual block
    (``BoundaryRefinement``). Scores are doubled in size five times, up to the image's.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        backbone: the encoder's options; the paper's is ResNet-152 at output stride 32.
        kernel_size: of the large kernels, odd, for all axes or each ([15, 15, 7]), in cells of each map. The paper's 15
            covers the coarsest map of a 512 pixel image; smaller patches need less (``patch_warnings`` tells).
        upsampling: `deconv` learns it across classes and starts as `linear` interpolation.
        score_channels: at least so many channels in the score maps, classified by a 1x1 convolution at the end: two
            classes make thin maps. None is the paper's, one channel a class and no such convolution.
        dropout: on the encoder's maps (the paper has none).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        backbone: Backbone = Backbone(encoder="resnet152", output_stride=32),  # noqa: B008 - frozen
        kernel_size: Count | tuple[Count, ...] = 15,
        upsampling: Literal["deconv", "linear"] = "deconv",
        score_channels: Count | None = None,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__(spatial_dims, in_channels, backbone)
        self.kernel_size = every_axis(kernel_size, spatial_dims)
        if len(self.kernel_size) != spatial_dims or any(k % 2 == 0 for k in self.kernel_size):
            raise ConfigError(
                f"network.kernel_size: expected 1 or {spatial_dims} odd numbers, found {kernel_size}; "
                "an even kernel has no centre"
            )
        channels = max(num_classes, score_channels or 0)
        self.score_maps = nn.ModuleList(
            nn.Sequential(
                nn.Dropout(dropout),
                GlobalConvolution(width, channels, self.kernel_size),
                BoundaryRefinement(spatial_dims, channels),
            )
            for width in reversed(self.encoder.channels[1:])
        )
        # From each map to the next finer one, then to the first map's size and to the image's.
        finer = [(1,) * spatial_dims, *self.encoder.strides]
        factors = [tuple(c // f for f, c in zip(*pair, strict=True)) for pair in pairwise(finer)]
        self.upsample = nn.ModuleList(
            Upsample(channels, steps, method=METHODS[upsampling]) if max(steps) > 1 else nn.Identity()
            for steps in reversed(factors)
        )
        self.refine = nn.ModuleList(BoundaryRefinement(spatial_dims, channels) for _ in factors)
        self.classifier = conv(spatial_dims, channels, num_classes, 1) if channels > num_classes else nn.Identity()
        initialise_classifier(self.classifier)

    def score(self, maps: list[Tensor]) -> Tensor:
        """Scores at the image's size or a few voxels more, from the first voxel on."""
        y, *finer = [apply(layer, m) for layer, m in zip(self.score_maps, reversed(maps[1:]), strict=True)]
        for level, (upsample, refine) in enumerate(zip(self.upsample, self.refine, strict=True)):
            y = upsample(y)
            if level < len(finer):
                # Strides round up from the first voxel on, so the enlarged map begins where the finer one does.
                y = crop(y, finer[level].shape[2:]) + finer[level]
            y = refine(y)
        return apply(self.classifier, y)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, I, J[, K]) -> logits (B, num_classes, I, J[, K])."""
        return crop(self.score(self.encoder(pad_small(x, self.minimum))), x.shape[2:])

    def patch_warnings(self, patch_size: Sequence[int]) -> list[str]:
        """Say that the kernel's ends lie beyond the last map of such a patch, wherever it is placed."""
        size = cells(patch_size, self.encoder.strides[-1])
        if all(k < 2 * n for k, n in zip(self.kernel_size, size, strict=True)):
            return []
        kernel, have, reach = (" x ".join(map(str, n)) for n in (self.kernel_size, size, [2 * n - 1 for n in size]))
        return [
            f"network.kernel_size: {kernel} reaches beyond the last feature map, which has {have} cells for a patch of "
            f"{' x '.join(map(str, patch_size))}; up to {reach} would use it (or take a larger patch)"
        ]


class GlobalConvolution(nn.Module):
    """A large kernel as the sum of chains of one-axis convolutions: k x 1 then 1 x k, and 1 x k then k x 1.

    Each chain sees the full box. In 3D there are three, beginning with each axis and going round (I J K, J K I, K I J).
    Between the convolutions is nothing: the whole is linear.

    Args:
        in_channels: of the map.
        out_channels: of every convolution.
        kernel: odd, one number an axis.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: Sequence[int]) -> None:
        super().__init__()
        dims = len(kernel)
        self.chains = nn.ModuleList()
        for first in range(dims):
            chain = nn.Sequential()
            for axis in [*range(first, dims), *range(first)]:
                along = tuple(k if a == axis else 1 for a, k in enumerate(kernel))
                width = out_channels if len(chain) else in_channels
                chain.append(AXIS_CONV[dims](width, out_channels, along, padding=tuple(k // 2 for k in along)))
            initialise(chain)
            initialise_classifier(chain[-1])
            self.chains.append(chain)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, I, J[, K]) -> (B, out, I, J[, K])."""
        return torch.stack([apply(chain, x) for chain in self.chains]).sum(dim=0)


class BoundaryRefinement(nn.Module):
    """x + convolution(ReLU(convolution(x))), nearly the identity at first."""

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.conv1 = conv(spatial_dims, channels, channels, 3)
        self.relu = nn.ReLU()
        self.conv2 = conv(spatial_dims, channels, channels, 3)
        initialise(self.conv1)
        initialise_classifier(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, I, J[, K]), size and channels stay."""
        return x + apply(self.conv2, self.relu(self.conv1(x)))
