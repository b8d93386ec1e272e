import pytest
import torch
from torch import nn

from medseg.networks.architectures.resnet38 import ResNet38
from medseg.networks.table import count_parameters


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "expected"),
    [
        (2, 3, 21, 124_043_093),
        (2, 3, 19, 124_033_875),
        (2, 1, 2, 123_954_370),
        (3, 3, 21, 323_453_141),
        (3, 1, 2, 323_187_010),
    ],
)
def test_number_of_parameters(dims, in_channels, num_classes, expected):
    assert count_parameters("resnet38", dims, in_channels, num_classes) == expected


def paper(**options):
    with torch.device("meta"):
        return ResNet38(2, 3, 21, **options)


def test_the_last_map_has_stride_8_and_nothing_is_pooled():
    network = paper()
    assert network.encoder.strides[-1] == (8, 8)
    assert network.encoder(torch.zeros(1, 3, 64, 40, device="meta"))[-1].shape == (1, 4096, 8, 5)
    assert not any("Pool" in type(module).__name__ for module in network.modules())


def test_both_convolutions_of_the_head_are_3x3_at_rate_12():
    network = paper()
    for layer, channels in ((network.hidden[0], 512), (network.classifier, 21)):
        assert (layer.kernel_size, layer.dilation, layer.out_channels) == ((3, 3), (12, 12), channels)
    assert network.hidden[0].bias is None
    assert network.classifier.bias is not None


@pytest.mark.parametrize(("output_stride", "rate"), [(4, 24), (8, 12), (16, 6), (32, 3)])
def test_the_head_reaches_as_far_at_every_stride(output_stride, rate):
    assert paper(output_stride=output_stride).classifier.dilation == (rate, rate)


@pytest.mark.parametrize(("dropout", "expected"), [(0.5, [0.3, 0.5]), (0.0, [0, 0])])
def test_dropout_of_the_last_two_blocks_keeps_its_proportion(dropout, expected):
    found = [module.p for module in paper(dropout=dropout).modules() if isinstance(module, nn.Dropout)]
    assert found[-2:] == expected
    assert not any(found[:-2])


def test_a_rate_beyond_the_map_is_named():
    network = paper()
    assert network.patch_warnings((128, 128)) == []
    assert "network.atrous_rate: 12 reach" in network.patch_warnings((96, 128))[0]
