"""medseg/networks/encoders/__init__.py: one contract for every encoder with a choice of output stride."""

import pytest
import torch

from medseg.errors import ConfigError
from medseg.networks.encoder_names import ENCODERS
from medseg.networks.encoders import Backbone


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_five_maps_end_at_the_output_stride(name, output_stride):
    encoder = Backbone(name, output_stride, width=0.125).build(2, 1)
    maps = encoder(torch.zeros(2, 1, 64, 64))
    assert len(maps) == len(encoder.channels) == len(encoder.strides) == 5
    assert encoder.strides == tuple((min(2**m, output_stride),) * 2 for m in range(1, 6))
    assert maps[-1].shape[2:] == (64 // output_stride, 64 // output_stride)


@pytest.mark.parametrize("name", ENCODERS)
def test_maps_come_one_at_a_time(name):
    encoder, x, runs = Backbone(name, 8, width=0.125).build(2, 1).eval(), torch.randn(1, 1, 32, 32), []
    expected = encoder(x)
    for layer in encoder.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda *_: runs.append(1))
    maps = encoder.maps(x)
    found = [next(maps) for _ in range(3)]
    early = len(runs)
    found += maps
    assert 0 < early < len(runs)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_an_output_stride_that_the_stem_cannot_give_is_refused():
    with pytest.raises(ConfigError, match=r"network.output_stride: expected one of 2, 4, 8, 16"):
        Backbone("resnet18", 32, stem_stride=1).build(2, 1)


@pytest.mark.parametrize("name", ENCODERS)
def test_flat_levels_keep_the_slices_apart(name):
    encoder = Backbone(name, 16, flat_levels=2, width=0.125).build(3, 1)
    image = torch.randn(1, 1, 32, 32, 8)
    maps = encoder(image)
    assert encoder.strides == ((2, 2, 1), (4, 4, 1), (8, 8, 2), (16, 16, 4), (16, 16, 4))
    assert [tuple(m.shape[2:]) for m in maps] == [(16, 16, 8), (8, 8, 8), (4, 4, 4), (2, 2, 2), (2, 2, 2)]
    other = image.clone()
    other[..., 4:] += 1  # the first levels never look across slices
    torch.testing.assert_close(encoder.train()(other)[0].shape, maps[0].shape)
    encoder = Backbone(name, 16, flat_levels=2, norm="none", width=0.125).build(3, 1)
    torch.testing.assert_close(encoder(other)[0][..., :4], encoder(image)[0][..., :4])


@pytest.mark.parametrize("option", [{"stem": "s"}, {"dilate_first_block": True}])
def test_an_option_of_resnets_is_refused_elsewhere(option):
    with pytest.raises(ConfigError, match=rf"network.{next(iter(option))}: only ResNet"):
        Backbone("mobilenet_v2", **option).build(2, 1)
