import math

import pytest
import torch
from torch import nn

from medseg.inference.predictor import Predictor
from medseg.model.classes import Classes
from medseg.model.inference import Inference

LIVER = Classes(("liver",))
CPU = torch.device("cpu")
FIRST, SECOND = torch.tensor([0.0, math.log(3.0)]), torch.tensor([0.0, 0.0])


class Constant(nn.Module):
    """The same logits for every voxel."""

    def __init__(self, logits):
        super().__init__()
        self.register_buffer("logits", logits)

    def forward(self, x):
        return self.logits.view(1, -1, 1, 1, 1).expand(len(x), -1, *x.shape[2:])


def test_one_network_gives_its_logits():
    scores = Predictor([Constant(FIRST)], LIVER, Inference(), CPU)(torch.zeros(3, 1, 2, 2, 2), 3)
    assert scores.shape == (3, 2, 2, 2, 2)
    assert scores[2, :, 1, 0, 1].tolist() == FIRST.tolist()


def test_ensemble_averages_probabilities_and_tells_how_sure_each_was():
    networks = [Constant(FIRST), Constant(SECOND)]
    predictor = Predictor(networks, LIVER, Inference(), CPU, probabilities=True, spread=True)
    scores = predictor(torch.zeros(1, 1, 2, 2, 2), 1)
    assert predictor.blank().tolist() == [1.0, 0.0, 0.0]
    own = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(2)
    assert scores[0, :, 0, 0, 0].tolist() == pytest.approx([(0.25 + 0.5) / 2, (0.75 + 0.5) / 2, (own + 1.0) / 2])


@pytest.mark.parametrize("limit", [1, 3, 8])
def test_mirrored_views_go_through_in_batches(limit):
    class Sizes(nn.Module):
        sizes = ()

        def forward(self, x):
            self.sizes += (len(x),)
            return torch.cat([x, 2 * x], dim=1)

    network, batch = Sizes(), torch.rand(2, 1, 2, 2, 2)
    scores = Predictor([network], LIVER, Inference(flip_axes=("R", "S")), CPU)(batch, limit)
    assert torch.allclose(scores, torch.cat([batch, 2 * batch], dim=1))
    assert network.sizes == {1: (1,) * 8, 3: (3, 3, 2), 8: (8,)}[limit]


@pytest.mark.parametrize(("networks", "options"), [([], {}), ([None, None], {}), ([None], {"spread": True})])
def test_logits_of_several_networks_have_no_mean(networks, options):
    with pytest.raises(ValueError, match="averaged"):
        Predictor(networks, LIVER, Inference(), CPU, **options)
