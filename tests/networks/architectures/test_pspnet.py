import pytest
import torch

from medseg.errors import ConfigError
from medseg.networks import build_network
from medseg.networks.table import count_parameters


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "encoder", "stem", "expected"),
    [
        (2, 3, 21, "resnet50", "s", 46_716_373),
        (2, 3, 21, "resnet101", "s", 65_708_501),
        (2, 3, 19, "resnet101", "s", 65_707_475),
        (2, 3, 150, "resnet50", "s", 46_782_550),
        (3, 3, 21, "resnet50", "s", 107_324_245),
        (3, 3, 21, "resnet101", "s", 146_370_389),
        (2, 1, 2, "resnet50", "s", 46_705_474),
        (2, 1, 2, "resnet101", "s", 65_697_602),
        (3, 1, 2, "resnet50", "s", 107_311_042),
        (3, 1, 2, "resnet101", "s", 146_357_186),
        (2, 1, 2, "resnet50", "7x7", 46_576_578),
        (2, 1, 2, "resnet101", "7x7", 65_568_706),
        (3, 1, 2, "resnet50", "7x7", 106_978_626),
        (3, 1, 2, "resnet101", "7x7", 146_024_770),
    ],
)
def test_number_of_parameters(dims, in_channels, num_classes, encoder, stem, expected):
    assert count_parameters("pspnet", dims, in_channels, num_classes, encoder=encoder, stem=stem) == expected


def test_number_of_parameters_with_the_auxiliary_head():
    assert count_parameters("pspnet", 2, 3, 21, auxiliary=True) == 49_081_578


def pspnet(dims=2, **options):
    torch.manual_seed(0)
    return build_network("pspnet", dims, 1, 3, **({"encoder": "resnet18", "width": 0.125} | options))


def test_the_defaults_are_the_paper_s_encoder():
    with torch.device("meta"):
        encoder = build_network("pspnet", 2, 3, 21).encoder
    dilations = [[block.conv2.dilation[0] for block in layer] for layer in (encoder.layer3, encoder.layer4)]
    assert dilations == [[2] * 6, [4] * 3]
    assert [encoder.conv1[n].out_channels for n in (0, 3, 6)] == [64, 64, 128]
    assert encoder.strides[-1] == (8, 8)


def test_the_third_stage_is_trained_with_weight_0_4():
    (third,) = pspnet(auxiliary=True)(torch.randn(1, 1, 33, 40)).auxiliary
    assert (third.name, third.weight, third.logits.shape) == ("stage3", 0.4, (1, 3, 33, 40))


def test_every_stage_of_the_encoder_learns():
    network = pspnet(dropout=0.0)
    network(torch.randn(2, 1, 40, 40)).square().sum().backward()
    for layer in (network.encoder.layer3, network.encoder.layer4):
        assert all(p.grad.abs().sum() > 0 for p in layer.parameters() if p.ndim > 1)


def test_grids_finer_than_the_last_map_are_named():
    (warning,) = pspnet(3).patch_warnings((96, 96, 32))
    assert warning.startswith("network.bins: grids of 6 are finer than the feature map, which has 12 x 12 x 4 cells")
    assert pspnet(3, bins=(1, 2, 3)).patch_warnings((96, 96, 32)) == []


@pytest.mark.parametrize("bins", [(), (0, 1)])
def test_a_pyramid_wants_grids(bins):
    with pytest.raises(ConfigError, match=r"network.bins: "):
        pspnet(bins=bins)


def test_an_encoder_without_the_paper_s_stem_says_what_to_switch_off():
    with pytest.raises(ConfigError, match=r"network.stem: only ResNet"):
        pspnet(encoder="mobilenet_v2")
    network = pspnet(encoder="mobilenet_v2", stem=None, dilate_first_block=False)
    assert network.eval()(torch.zeros(1, 1, 20, 30)).shape == (1, 3, 20, 30)
