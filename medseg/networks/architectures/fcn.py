"""FCN-32s, -16s and -8s on VGG16: Long, Shelhamer and Darrell 2015, arXiv 1411.4038."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.encoders.vgg import VGG16
from medseg.networks.layers.blocks import Norm, apply, conv, initialise, initialise_classifier, scaled
from medseg.networks.layers.sizes import crop, pad_small
from medseg.networks.layers.upsampling import Upsample, Upsampling
from medseg.networks.options import Count, FlatLevels, Probability, Width

Variant = Literal["32s", "16s", "8s"]

FUSED: dict[Variant, tuple[int, ...]] = {"32s": (), "16s": (3,), "8s": (3, 2)}
"""Encoder maps that each variant scores beside the last one, coarse to fine."""


class FCN(nn.Module):
    """VGG16 with its classifier turned into convolutions; scores of coarse maps are enlarged and added to finer ones.

    Two differences from the released Caffe nets: the padding of 100 before the first convolution and the crops that
    undo it are replaced by same-size convolutions, so that scores stay aligned with the image for any size; and score
    layers start at N(0, 0.01) instead of 0, so that an encoder without ImageNet weights learns from the first step.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        variant: stride of the finest map that is scored.
        upsampling: `fixed` interpolation (what the released nets amount to), or deconvolutions that start as it and
            learn, `depthwise` (a kernel a class) or `dense` (every class to every class).
        fc_kernel: of fc6, odd; None is the paper's 7 in 2D and 3 in 3D (where 7 would be 719 million weights).
        fc_width: channels of fc6 and fc7; None is the paper's 4096 in 2D and 1024 in 3D, times the width.
        dropout: after fc6 and fc7.
        norm: in the encoder; the paper has none. `batch` makes it VGG16-BN.
        width: factor on all channels.
        flat_levels: first stages that neither convolve nor pool along the last axis, for thick slices (3D only).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        variant: Variant = "8s",
        upsampling: Upsampling = "fixed",
        fc_kernel: Annotated[int, Field(ge=1)] | None = None,
        fc_width: Count | None = None,
        dropout: Probability = 0.5,
        norm: Norm = "none",
        width: Width = 1.0,
        flat_levels: FlatLevels = 0,
    ) -> None:
        super().__init__()
        fc_kernel = fc_kernel or (7 if spatial_dims == 2 else 3)
        fc_width = fc_width or scaled(4096 if spatial_dims == 2 else 1024, width)
        if fc_kernel % 2 == 0:
            raise ConfigError(f"network.fc_kernel: expected an odd number, found {fc_kernel}")
        self.encoder = VGG16(spatial_dims, in_channels, norm=norm, width=width, flat_levels=flat_levels)
        self.minimum = (1,) * spatial_dims if norm == "none" else self.encoder.minimum
        self.fused = FUSED[variant]

        channels = self.encoder.channels
        self.fc6 = _fc(spatial_dims, channels[-1], fc_width, fc_kernel, dropout)
        self.fc7 = _fc(spatial_dims, fc_width, fc_width, 1, dropout)
        self.score_fr = conv(spatial_dims, fc_width, num_classes, 1)
        self.score_pools = nn.ModuleList(conv(spatial_dims, channels[m], num_classes, 1) for m in self.fused)
        self.upscore = nn.ModuleList(
            Upsample(num_classes, factors, method=upsampling)
            for factors in (
                *(self.encoder.steps[m + 1] for m in self.fused),
                self.encoder.strides[min(self.fused, default=4)],
            )
        )
        initialise(self.fc6, self.fc7)
        for layer in (self.score_fr, *self.score_pools):
            initialise_classifier(layer)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, I, J[, K]) -> logits (B, num_classes, I, J[, K])."""
        maps = self.encoder(pad_small(x, self.minimum))
        scores = apply(self.score_fr, self.fc7(self.fc6(maps[-1])))
        *steps, last = self.upscore
        for m, score_pool, upscore in zip(self.fused, self.score_pools, steps, strict=True):
            # Pooling rounds up from the first voxel on, so twice the coarse map begins where the finer one does.
            scores = crop(upscore(scores), maps[m].shape[2:]) + score_pool(maps[m])
        return crop(last(scores), x.shape[2:])


def _fc(spatial_dims: int, in_channels: int, out_channels: int, kernel: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(conv(spatial_dims, in_channels, out_channels, kernel), nn.ReLU(), nn.Dropout(dropout))
