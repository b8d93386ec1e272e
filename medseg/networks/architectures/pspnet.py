"""PSPNet: Zhao, Shi, Qi, Wang and Jia 2017, arXiv 1612.01105."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor

from medseg.networks.encoders import Backbone
from medseg.networks.layers.auxiliary_head import AuxiliaryHead
from medseg.networks.layers.blocks import apply, initialise, scaled
from medseg.networks.layers.encoder_network import EncoderNetwork, ScoringHead
from medseg.networks.layers.patches import bin_warnings
from medseg.networks.layers.pyramid_pooling import PyramidPooling
from medseg.networks.options import Count, Probability
from medseg.networks.outputs import Output


class PSPNet(EncoderNetwork):
    """Pyramid pooling on the last map of a dilated ResNet, a 3x3 convolution and a classifier.

    Scores are enlarged with voxel centres aligned, where the paper's nets align corners. The pooled means are those of
    the patch: run the sliding window with the patch size of training.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        backbone: the encoder's options. Stem and dilation are the paper's and for ResNets only: another encoder wants
            ``stem: null`` and ``dilate_first_block: false``.
        bins: blocks of each pooling grid along an axis. A grid finer than the map is cut to the map's cells; where the
            map has fewer than 12, which is common in 3D, (1, 2, 3) does.
        auxiliary: train a head on the third stage too, with weight 0.4, as the paper does; it is not run in eval mode.
        dropout: before the classifiers.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        backbone: Backbone = Backbone(output_stride=8, stem="s", dilate_first_block=True),  # noqa: B008 - frozen
        bins: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 2, 3, 6),
        auxiliary: bool = False,
        dropout: Probability = 0.1,
    ) -> None:
        super().__init__(spatial_dims, in_channels, backbone)
        self.bins = tuple(bins)
        self.pyramid = PyramidPooling(spatial_dims, self.encoder.channels[-1], self.bins, norm=backbone.norm)
        self.head = ScoringHead(
            spatial_dims,
            self.pyramid.out_channels,
            scaled(512, backbone.width),
            num_classes,
            norm=backbone.norm,
            dropout=dropout,
        )
        self.auxiliary = (
            AuxiliaryHead(spatial_dims, self.encoder, num_classes, backbone=backbone, weight=0.4, dropout=dropout)
            if auxiliary
            else None
        )
        initialise(self.pyramid)

    def score(self, maps: list[Tensor]) -> Output:
        """Scores at the size of the last map."""
        scores = apply(self.head, self.pyramid(maps[-1]))
        return scores if self.auxiliary is None else self.auxiliary.beside(scores, maps)

    def patch_warnings(self, patch_size: Sequence[int]) -> list[str]:
        """Name the grids that are finer than the last map of such a patch."""
        return bin_warnings("bins", self.bins, patch_size, self.encoder.strides[-1])
