import pytest
import torch

from medseg.networks.encoders import Backbone
from medseg.networks.layers.encoder_network import EncoderNetwork, ScoringHead
from medseg.networks.outputs import Auxiliary, TrainingOutput


class Scored(EncoderNetwork):
    def __init__(self, dims):
        super().__init__(dims, 1, Backbone("resnet18", 8, width=0.125))
        self.head = ScoringHead(dims, self.encoder.channels[-1], 8, 3, norm="batch", dropout=0.0)
        self.auxiliary = ScoringHead(dims, self.encoder.channels[-2], 8, 3, norm="batch", dropout=0.0)

    def score(self, maps):
        scores = self.head(maps[-1])
        if not self.training:
            return scores
        return TrainingOutput(scores, (Auxiliary("stage3", self.auxiliary(maps[-2]), 0.4),))


@pytest.mark.parametrize("size", [(40, 33), (3, 2), (20, 7, 9)])
def test_scores_come_back_at_the_image_s_size_in_both_modes(size):
    network, x = Scored(len(size)), torch.randn(1, 1, *size)
    trained = network.train()(x)
    assert trained.logits.shape == trained.auxiliary[0].logits.shape == (1, 3, *size)
    assert network.eval()(x).shape == (1, 3, *size)


def test_a_head_counts_what_its_layers_have():
    head = ScoringHead(2, 16, 8, 3, norm="batch", dropout=0.1)
    assert sum(p.numel() for p in head.parameters()) == 16 * 8 * 9 + 2 * 8 + 8 * 3 + 3


def test_the_frame_alone_scores_nothing():
    with pytest.raises(NotImplementedError):
        EncoderNetwork(2, 1, Backbone("resnet18", width=0.125))(torch.zeros(1, 1, 32, 32))
