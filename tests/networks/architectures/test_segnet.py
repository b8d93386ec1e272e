import pytest
import torch

from medseg.networks.architectures.segnet import SegNet
from medseg.networks.table import count_parameters


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "expected"),
    [
        (2, 3, 11, 29_449_355),
        (2, 3, 21, 29_455_125),
        (2, 1, 2, 29_443_010),
        (3, 3, 21, 88_317_717),
        (3, 1, 2, 88_281_410),
    ],
)
def test_number_of_parameters(dims, in_channels, num_classes, expected):
    assert count_parameters("segnet", dims, in_channels, num_classes) == expected


def test_the_decoder_mirrors_the_encoder():
    with torch.device("meta"):
        network = SegNet(2, 3, 11)
    widths = [[c.out_channels for c in stage if isinstance(c, torch.nn.Conv2d)] for stage in network.decoder]
    assert widths == [[512, 512, 512], [512, 512, 256], [256, 256, 128], [128, 64], [64]]
    assert network.classifier.kernel_size == (3, 3)


@pytest.mark.parametrize("stages", [2, 3, 4, 5])
def test_any_number_of_stages_fits_together(stages):
    network = SegNet(2, 1, 2, width=0.125, stages=stages)
    assert len(network.decoder) == stages
    assert network(torch.zeros(1, 1, 21, 34)).shape == (1, 2, 21, 34)


def test_nothing_but_indices_reaches_the_decoder_beside_the_last_map():
    torch.manual_seed(0)
    network = SegNet(2, 1, 2, width=0.125, stages=2, norm="none").eval()
    last = [layer for layer in network.encoder.features if isinstance(layer, torch.nn.Conv2d)][-1]
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    # with an empty last map the logits are the decoder's answer to zeros, whatever the image
    a, b = network(torch.randn(1, 1, 16, 16)), network(torch.randn(1, 1, 16, 16))
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    network = SegNet(2, 1, 2, width=0.125, stages=2, norm="none", dropout=0.5)
    x = torch.randn(1, 1, 16, 16)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))
