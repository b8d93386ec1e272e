"""FCN on a dilated ResNet: the form of Long et al. 2015 (arXiv 1411.4038) that today's libraries mean by FCN."""

from __future__ import annotations

from torch import Tensor

from medseg.networks.encoders import Backbone
from medseg.networks.layers.auxiliary_head import AuxiliaryHead
from medseg.networks.layers.blocks import scaled
from medseg.networks.layers.encoder_network import EncoderNetwork, ScoringHead
from medseg.networks.options import Probability
from medseg.networks.outputs import Output


class FCNResNet(EncoderNetwork):
    """One 3x3 convolution and a classifier on the last map of a dilated encoder, as torchvision's ``fcn_resnet50``.

    No skip and no context module: the baseline that DeepLab v3 and PSPNet are measured against. The networks of the
    paper, which add the scores of finer maps, are in fcn.py.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        backbone: the encoder's options; torchvision's output stride is 8.
        auxiliary: train a head on the third stage too, with weight 0.5; it is not run in eval mode.
        dropout: before the classifiers.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        backbone: Backbone = Backbone(output_stride=8),  # noqa: B008 - frozen
        auxiliary: bool = False,
        dropout: Probability = 0.1,
    ) -> None:
        super().__init__(spatial_dims, in_channels, backbone)
        self.head = ScoringHead(
            spatial_dims,
            self.encoder.channels[-1],
            scaled(512, backbone.width),
            num_classes,
            norm=backbone.norm,
            dropout=dropout,
        )
        self.auxiliary = (
            AuxiliaryHead(spatial_dims, self.encoder, num_classes, backbone=backbone, weight=0.5, dropout=dropout)
            if auxiliary
            else None
        )

    def score(self, maps: list[Tensor]) -> Output:
        """Scores at the size of the last map."""
        scores = self.head(maps[-1])
        return scores if self.auxiliary is None else self.auxiliary.beside(scores, maps)
