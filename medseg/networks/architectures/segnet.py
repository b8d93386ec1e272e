"""SegNet: Badrinarayanan, Kendall and Cipolla 2017, arXiv 1511.00561."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from medseg.networks.encoders.strides import Axes
from medseg.networks.encoders.vgg import VGG16
from medseg.networks.layers.blocks import Norm, apply, conv, initialise, initialise_classifier
from medseg.networks.layers.mirrored import MirroredDecoder, pool
from medseg.networks.layers.sizes import crop, pad_small
from medseg.networks.options import FlatLevels, Probability, Width


class SegNet(nn.Module):
    """VGG16-BN and its mirror image: each decoder stage unpools with the indices of its max-pool, and skips no more.

    Convolutions have a bias beside their norm, as in the authors' prototxt; the last one gives the logits and has
    neither norm nor ReLU.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        stages: max-pools; 5 is the paper's, 4 suits 3D patches of 64 voxels and less.
        dropout: at the coarsest map and after the decoder's first stage (the paper has none).
        norm: after every convolution but the last.
        width: factor on the channels of encoder and decoder.
        flat_levels: first stages that neither convolve nor pool along the last axis, for thick slices (3D only).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        stages: Annotated[int, Field(ge=2, le=5)] = 5,
        dropout: Probability = 0.0,
        norm: Norm = "batch",
        width: Width = 1.0,
        flat_levels: FlatLevels = 0,
    ) -> None:
        super().__init__()
        self.encoder = VGG16(spatial_dims, in_channels, norm=norm, width=width, stages=stages, flat_levels=flat_levels)
        axes = Axes(spatial_dims, flat_levels)
        self.dropout = nn.Dropout(dropout)
        # One convolution fewer than the encoder's first stage: the classifier is the other.
        self.decoder = MirroredDecoder(
            self.encoder, axes, norm=norm, last=len(self.encoder.widths[0]) - 1, dropout=dropout
        )
        self.classifier = conv(spatial_dims, self.encoder.channels[0], num_classes, axes.at(0, 3))
        initialise(self.decoder)
        initialise_classifier(self.classifier)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, I, J[, K]) -> logits (B, num_classes, I, J[, K])."""
        pooled, switches = pool(self.encoder, pad_small(x, self.encoder.minimum))
        y = self.decoder(self.dropout(pooled), switches)
        return crop(apply(self.classifier, y), x.shape[2:])
