"""SegNet: Badrinarayanan, Kendall and Cipolla 2017, arXiv 1511.00561."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from medseg.networks.blocks import Norm, apply, conv, initialise, initialise_classifier, norm_layer
from medseg.networks.encoders.vgg import VGG16
from medseg.networks.options import Probability, Width
from medseg.networks.sizes import crop, pad_small
from medseg.networks.upsampling import unpool


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
    ) -> None:
        super().__init__()
        self.encoder = VGG16(spatial_dims, in_channels, norm=norm, width=width, stages=stages)
        self.dropout = nn.Dropout(dropout)
        # Mirrored, a stage keeps its width but for its last convolution, which takes that of the next finer stage.
        mirrored = [(widths[-1], len(widths)) for widths in reversed(self.encoder.widths)]
        self.decoder = nn.ModuleList(
            _decoder_stage(spatial_dims, channels, following, count, norm)
            for (channels, count), (following, _) in pairwise(mirrored)
        )
        channels, count = mirrored[-1]
        self.decoder.append(_decoder_stage(spatial_dims, channels, channels, count - 1, norm))
        self.classifier = conv(spatial_dims, channels, num_classes, 3)
        initialise(self.decoder)
        initialise_classifier(self.classifier)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, I, J[, K]) -> logits (B, num_classes, I, J[, K])."""
        y, trail = x, []
        for pooled, indices, before in self.encoder.stages(pad_small(x, self.encoder.minimum)):
            y = pooled
            trail.append((indices, before))
        y = self.dropout(y)
        for level, stage in enumerate(self.decoder):
            indices, before = trail.pop()
            y = stage(unpool(y, indices, before))
            y = self.dropout(y) if level == 0 else y
        return crop(apply(self.classifier, y), x.shape[2:])


def _decoder_stage(spatial_dims: int, channels: int, out_channels: int, count: int, norm: Norm) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in [channels] * (count - 1) + [out_channels]:
        layers += [conv(spatial_dims, channels, width, 3), norm_layer(norm, width, spatial_dims), nn.ReLU()]
    return nn.Sequential(*layers)
