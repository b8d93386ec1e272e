"""Attention to Scale: Chen, Yang, Wang, Xu and Yuille 2016, arXiv 1511.03339."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.layers.blocks import apply, conv, conv_norm_act, initialise, initialise_classifier, scaled
from medseg.networks.layers.encoder_network import EncoderNetwork
from medseg.networks.layers.largefov import LargeFOV, LargeFOVOptions
from medseg.networks.layers.sizes import pad_small
from medseg.networks.layers.upsampling import resize
from medseg.networks.outputs import Auxiliary, Output, TrainingOutput, to_size

Scale = Annotated[float, Field(gt=0.0, le=1.0)]
"""Factor on the image's size."""


class AttentionToScale(EncoderNetwork):
    """One LargeFOV on the image at several sizes; an attention model weighs their scores, voxel by voxel.

    The attention model sees fc7 of all scales at once, enlarged to the largest one's map; that they are concatenated is
    our choice. In train mode each scale's own scores are trained beside the weighted ones, with the same weight: the
    paper found this essential.

    All scales pass through the same encoder. With ``norm: batch`` each moves the same running statistics in turn, which
    then fit none of them exactly: ``group`` has no such fault, and the paper has no norm.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        scales: factors on the image's size, from large to small; the paper has (1, 0.75, 0.5) too. In 3D a scale of 0.5
            costs an eighth of the whole image.
        largefov: options of encoder and head; the dropout holds in the attention model too.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        scales: Annotated[tuple[Scale, ...], Field(min_length=2)] = (1.0, 0.5),
        largefov: LargeFOVOptions = LargeFOVOptions(),  # noqa: B008 - frozen
    ) -> None:
        if list(scales) != sorted(set(scales), reverse=True):
            raise ConfigError(f"network.scales: expected different scales from large to small, found {list(scales)}")
        super().__init__(spatial_dims, in_channels, largefov.backbone)
        self.scales = tuple(scales)
        self.minimum = tuple(math.ceil(size / min(scales)) for size in self.minimum)
        """Smallest size that leaves two cells for the norms at the smallest scale."""
        self.head = LargeFOV(spatial_dims, self.encoder.channels[-1], num_classes, largefov)
        hidden = scaled(512, largefov.width)
        self.attention = nn.Sequential(
            conv_norm_act(spatial_dims, len(scales) * self.head.channels, hidden, 3, norm="none"),
            nn.Dropout(largefov.dropout),
            conv(spatial_dims, hidden, len(scales), 1),
        )
        initialise(self.attention[0])
        initialise_classifier(self.attention[-1])

    def forward(self, x: Tensor) -> Output:
        """(B, C, I, J[, K]) -> logits (B, num_classes, I, J[, K]), in train mode with those of each scale."""
        padded = pad_small(x, self.minimum)
        features = [self.head.features(self.encoder(self.at_scale(padded, scale))[-1]) for scale in self.scales]
        scores = [apply(self.head.fc8, f) for f in features]
        fused = self.fuse(scores, self.weights(features))
        each = tuple(Auxiliary(f"scale_{s:g}", y, 1.0) for s, y in zip(self.scales, scores, strict=True))
        output = TrainingOutput(fused, each) if self.training else fused
        return to_size(output, padded.shape[2:], x.shape[2:])

    def at_scale(self, x: Tensor, scale: float) -> Tensor:
        """The image at a factor of its size."""
        return resize(x, [math.ceil(n * scale) for n in x.shape[2:]])

    def weights(self, features: list[Tensor]) -> Tensor:
        """(B, scales, I, J[, K]) at the first scale's size; the scales of a voxel sum to 1.

        Args:
            features: fc7 of each scale, of its own size.
        """
        size = features[0].shape[2:]
        return apply(self.attention, torch.cat([resize(f, size) for f in features], dim=1)).softmax(dim=1)

    def fuse(self, scores: list[Tensor], weights: Tensor) -> Tensor:
        """The scores of all scales, each of its own size, weighed at the size of the weights."""
        size = weights.shape[2:]
        return torch.stack([weights[:, s, None] * resize(y, size) for s, y in enumerate(scores)]).sum(dim=0)

    def patch_warnings(self, patch_size: Sequence[int]) -> list[str]:
        """Name the rate of fc6 where it reaches beyond the last map of such a patch at the smallest scale."""
        strides = [math.ceil(stride / min(self.scales)) for stride in self.encoder.strides[-1]]
        return self.head.patch_warnings(patch_size, strides)
