import pytest
import torch

from medseg.networks import build_network
from medseg.networks.architectures.deeplabv1 import DeepLabV1
from medseg.networks.layers.largefov import LargeFOVOptions
from medseg.networks.table import count_parameters


def deeplab(dims=2, **options):
    torch.manual_seed(0)
    return DeepLabV1(dims, 1, 3, largefov=LargeFOVOptions(**({"width": 0.125} | options))).eval()


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "expected"),
    [(2, 3, 21, 20_505_429), (3, 3, 21, 59_363_541), (2, 1, 2, 20_484_802), (3, 1, 2, 59_340_610)],
)
def test_number_of_parameters(dims, in_channels, num_classes, expected):
    assert count_parameters("deeplabv1", dims, in_channels, num_classes) == expected


def test_a_score_sees_435_pixels_about_its_own():
    network = deeplab(width=1 / 64).double()
    for parameter in network.parameters():  # no tap may be silent
        parameter.data.fill_(1 / parameter[0].numel() if parameter.ndim > 1 else 0)
    for index, layer in enumerate(network.encoder.features):  # nor hide behind a maximum
        if isinstance(layer, torch.nn.MaxPool2d):
            network.encoder.features[index] = _AveragePool(layer.kernel_size, layer.stride, layer.padding)
    x = torch.ones(1, 1, 449, 9, dtype=torch.float64, requires_grad=True)
    scores = network.score(network.encoder(x))
    assert scores.shape[2:] == (57, 2)
    scores[0, 0, 28, 0].backward()
    seen = x.grad[0, 0].sum(dim=1).nonzero().flatten()
    assert (seen.min(), seen.max()) == (8 * 28 - 217, 8 * 28 + 217)
    assert len(seen) == 435


class _AveragePool(torch.nn.MaxPool2d):
    def forward(self, x):
        return torch.nn.functional.avg_pool2d(x, self.kernel_size, self.stride, self.padding), None


def test_an_image_of_321_pixels_has_41_scores_before_they_are_enlarged():
    network = deeplab(width=1 / 64)
    x = torch.zeros(1, 1, 321, 16)
    assert network.score(network.encoder(x)).shape == (1, 3, 41, 2)
    assert network(x).shape == (1, 3, 321, 16)


def test_a_rate_beyond_the_last_map_is_named():
    (warning,) = deeplab(3, atrous_rate=12).patch_warnings((96, 96, 96))
    assert warning.startswith("network.atrous_rate: 12 reach beyond the last feature map, which has 12 x 12 x 12 cells")
    assert deeplab(3).patch_warnings((96, 96, 96)) == []
    assert deeplab(2).patch_warnings((321, 321)) == []


def test_options_of_the_head_and_the_encoder_stand_side_by_side():
    network = build_network("deeplabv1", 3, 1, 2, width=0.125, fc_width=16, flat_levels=2, norm="group")
    assert network.encoder.strides[-1] == (8, 8, 2)
    assert network.head.channels == 16
