"""RGNet: Yu, Liu, Gao, Shen and Sang 2020, arXiv 2008.05202."""

from __future__ import annotations

from torch import Tensor, nn

from medseg.networks.encoders import Backbone
from medseg.networks.layers.auxiliary_head import AuxiliaryHead
from medseg.networks.layers.blocks import apply, conv, conv_norm_act, initialise, initialise_classifier, scaled
from medseg.networks.layers.encoder_network import EncoderNetwork
from medseg.networks.layers.representative_graph import RepresentativeGraph
from medseg.networks.options import Count, Probability
from medseg.networks.outputs import Output


class RGNet(EncoderNetwork):
    """The encoder's last map, reduced; each voxel adds what it finds at a few learned places; scored.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        backbone: the encoder's options. An output stride of 8 is the paper's.
        samples: places for each voxel: 1, 5, 9 or 25 in 2D; 1, 9, 27 or 125 in 3D.
        channels: of the reduced map, twice those of the attention; None is 512 times the width.
        zero_init_residual: start with the graph layer as the identity.
        auxiliary: score stage 3 in training too (`stage3`, weight 0.4).
        dropout: before the classifiers.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        backbone: Backbone = Backbone(output_stride=8),  # noqa: B008 - frozen
        samples: Count = 9,
        channels: Count | None = None,
        zero_init_residual: bool = True,
        auxiliary: bool = False,
        dropout: Probability = 0.1,
    ) -> None:
        super().__init__(spatial_dims, in_channels, backbone)
        norm, channels = backbone.norm, channels or scaled(512, backbone.width)
        self.reduce = conv_norm_act(spatial_dims, self.encoder.channels[-1], channels, 3, norm=norm)
        self.graph = RepresentativeGraph(
            spatial_dims,
            channels,
            max(1, channels // 2),
            samples=samples,
            norm=norm,
            zero_init_residual=zero_init_residual,
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = conv(spatial_dims, channels, num_classes, 1)
        self.auxiliary = (
            AuxiliaryHead(spatial_dims, self.encoder, num_classes, backbone=backbone, weight=0.4, dropout=dropout)
            if auxiliary
            else None
        )
        initialise(self.reduce)
        initialise_classifier(self.classifier)

    def score(self, maps: list[Tensor]) -> Output:
        """Scores at the size of the last map."""
        scores = apply(self.classifier, self.dropout(self.graph(self.reduce(maps[-1]))))
        return scores if self.auxiliary is None else self.auxiliary.beside(scores, maps)
