"""An encoder, a head that scores its maps, and the way back to the image's size: the frame of half the family."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from medseg.networks.encoders import Backbone
from medseg.networks.layers.blocks import Norm, apply, conv, conv_norm_act, initialise, initialise_classifier
from medseg.networks.layers.sizes import pad_small
from medseg.networks.outputs import Output, to_size


class EncoderNetwork(nn.Module):
    """Pads small images, runs encoder and ``score``, enlarges the scores and cuts them to the image.

    A subclass builds its head in its constructor and writes ``score``.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        backbone: which encoder.
        encoder: further arguments of the encoder.
    """

    def __init__(self, spatial_dims: int, in_channels: int, backbone: Backbone, **encoder: Any) -> None:
        super().__init__()
        self.encoder = backbone.build(spatial_dims, in_channels, **encoder)
        self.minimum = tuple(stride + 1 for stride in self.encoder.strides[-1])
        """Smallest size that leaves two cells for the norms of the last map."""

    def score(self, maps: list[Tensor]) -> Output:
        """Scores of the encoder's maps, at the size of any of them; auxiliary ones in train mode only."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Output:
        """(B, C, I, J[, K]) -> logits (B, num_classes, I, J[, K]), in train mode with auxiliary outputs."""
        padded = pad_small(x, self.minimum)
        return to_size(self.score(self.encoder(padded)), padded.shape[2:], x.shape[2:])


class ScoringHead(nn.Module):
    """3x3 convolution, norm, ReLU, dropout and a 1x1 classifier: FCN's head on a dilated encoder, and most auxiliaries.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the map.
        channels: between the two convolutions.
        num_classes: of the scores.
        norm: after the first.
        dropout: before the classifier.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, channels: int, num_classes: int, *, norm: Norm, dropout: float
    ) -> None:
        super().__init__()
        self.hidden = conv_norm_act(spatial_dims, in_channels, channels, 3, norm=norm)
        self.dropout = nn.Dropout(dropout)
        self.classifier = conv(spatial_dims, channels, num_classes, 1)
        initialise(self.hidden)
        initialise_classifier(self.classifier)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, I, J[, K]) -> (B, num_classes, I, J[, K])."""
        return apply(self.classifier, self.dropout(self.hidden(x)))
