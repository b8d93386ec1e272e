"""Deep supervision of an encoder: its third stage is scored too while the network is trained."""

from __future__ import annotations

from torch import Tensor

from medseg.networks.encoders import Backbone, Encoder
from medseg.networks.layers.blocks import scaled
from medseg.networks.layers.encoder_network import ScoringHead
from medseg.networks.outputs import Auxiliary, Output, TrainingOutput


class AuxiliaryHead(ScoringHead):
    """FCN's head with 256 channels on the encoder's third stage, as in PSPNet and torchvision's networks.

    Args:
        spatial_dims: 2 or 3.
        encoder: that has the stage.
        num_classes: of the scores.
        backbone: the encoder's options; norm and width hold here too.
        weight: of its loss.
        dropout: before the classifier.
    """

    def __init__(
        self,
        spatial_dims: int,
        encoder: Encoder,
        num_classes: int,
        *,
        backbone: Backbone,
        weight: float,
        dropout: float = 0.1,
    ) -> None:
        channels = scaled(256, backbone.width)
        super().__init__(spatial_dims, encoder.channels[3], channels, num_classes, norm=backbone.norm, dropout=dropout)
        self.weight = weight

    def beside(self, scores: Tensor, maps: list[Tensor]) -> Output:
        """The network's scores, in train mode with those of the third stage."""
        if not self.training:
            return scores
        return TrainingOutput(scores, (Auxiliary("stage3", self(maps[3]), self.weight),))
