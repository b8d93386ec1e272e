import pytest
import torch

from medseg.networks.encoders.strides import Axes
from medseg.networks.encoders.vgg import VGG16
from medseg.networks.layers.mirrored import MirroredDecoder, pool


@pytest.mark.parametrize(("dims", "size"), [(2, (40, 37)), (3, (18, 16, 9))])
def test_every_stage_unpools_by_the_switches_of_its_own_level(dims, size):
    torch.manual_seed(0)
    encoder = VGG16(dims, 1, norm="batch", width=0.125, stages=4)
    decoder = MirroredDecoder(encoder, Axes(dims), norm="batch")
    seen = []
    for stage in decoder:
        stage.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    pooled, switches = pool(encoder, torch.randn(1, 1, *size))
    decoder(pooled, switches)
    assert len(seen) == len(switches) == 4
    for x, (indices, before) in zip(seen, reversed(switches), strict=True):
        assert x.shape[2:] == before
        places = torch.zeros_like(x).flatten(2).scatter(2, indices.flatten(2), 1.0).view_as(x)
        assert x.abs().sum() > 0
        assert (x[places == 0] == 0).all()


def test_the_finest_stage_may_have_fewer_convolutions():
    encoder = VGG16(2, 1, norm="batch", width=0.125)
    for last, expected in ((None, 2), (1, 1)):
        decoder = MirroredDecoder(encoder, Axes(2), norm="batch", last=last)
        assert sum(isinstance(layer, torch.nn.Conv2d) for layer in decoder[-1]) == expected
