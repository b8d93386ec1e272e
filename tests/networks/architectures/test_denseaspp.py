import pytest
import torch

from medseg.networks import build_network
from medseg.networks.table import count_parameters

SMALL = {"encoder": "resnet18", "width": 0.125, "dropout": 0.0}


def denseaspp(dims=2, **options):
    torch.manual_seed(0)
    return build_network("denseaspp", dims, 1, 3, **(SMALL | options)).eval()


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "encoder", "expected"),
    [
        (2, 3, 19, "densenet121", 8_280_851),
        (2, 3, 19, "densenet161", 35_395_427),
        (2, 3, 19, "densenet169", 18_420_675),
        (2, 3, 19, "densenet201", 28_639_987),
        (2, 3, 19, "mobilenet_v2", 2_486_419 - 1_088),  # the release's first block has a 1x1 convolution of 32 more
        (2, 3, 21, "densenet121", 8_282_517),
        (2, 3, 21, "densenet161", 35_398_917),
        (2, 1, 2, "densenet121", 8_260_418),
        (3, 1, 2, "densenet121", 13_292_738),
    ],
)
def test_number_of_parameters(dims, in_channels, num_classes, encoder, expected):
    assert count_parameters("denseaspp", dims, in_channels, num_classes, encoder=encoder) == expected


@pytest.mark.parametrize(("encoder", "expected"), [("densenet121", 1_540_629), ("densenet161", 12_385_317)])
def test_number_of_parameters_of_the_head_in_3d(encoder, expected):
    with torch.device("meta"):
        network = build_network("denseaspp", 3, 3, 21, encoder=encoder)
    assert sum(p.numel() for name, p in network.named_parameters() if not name.startswith("encoder.")) == expected


def test_each_layer_sees_the_map_and_all_layers_before_it():
    with torch.device("meta"):
        network = build_network("denseaspp", 2, 3, 19)
    assert [layer[2].in_channels for layer in network.atrous] == [512, 576, 640, 704, 768]
    assert network.classifier.in_channels == 512 + 5 * 64


def test_only_the_first_layer_has_no_norm_before_its_first_convolution():
    with torch.device("meta"):
        layers = build_network("denseaspp", 2, 3, 19).atrous
    assert [type(layer[0]).__name__ for layer in layers] == ["Identity", *["BatchNorm2d"] * 4]
    assert [type(layer[3]).__name__ for layer in layers] == ["BatchNorm2d"] * 5


def test_new_channels_come_first():
    network = denseaspp(atrous_rates=(1,))
    feature, seen = torch.randn(1, 64, 5, 5), []
    network.classifier.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    network.score([feature])
    assert torch.equal(seen[0][:, -64:], feature)


@pytest.mark.parametrize(
    ("rates", "step"),
    [((3, 6, 12, 18, 24), 3), ((1, 2, 4, 6, 8), 1)],  # the paper's, and those of the fragment
)
def test_the_layers_see_every_cell_that_their_rates_add_up_to(rates, step):
    network = denseaspp(norm="none", atrous_rates=rates)
    for p in (*network.atrous.parameters(), *network.classifier.parameters()):
        torch.nn.init.constant_(p, 0.01)  # nothing cancels
    feature = torch.ones(1, 64, 131, 1, requires_grad=True)
    network.score([feature])[0, 0, 65, 0].backward()
    seen = feature.grad[0, 0, :, 0].nonzero().flatten().sub(65).tolist()
    assert seen == list(range(-sum(rates), sum(rates) + 1, step))


def test_rates_beyond_the_last_map_are_named():
    (warning,) = denseaspp(output_stride=8).patch_warnings((128, 128))
    assert warning.startswith("network.atrous_rates: 18, 24 reach beyond the last feature map, which has 16 x 16 cells")
    assert denseaspp(output_stride=8, atrous_rates=(1, 2, 4, 6)).patch_warnings((128, 128)) == []


def test_channels_can_be_chosen():
    network = denseaspp(atrous_rates=(1, 2), bottleneck_channels=12, growth=6)
    assert [(layer[2].out_channels, layer[5].out_channels) for layer in network.atrous] == [(12, 6), (12, 6)]


@pytest.mark.parametrize("dims", [2, 3])
def test_dropout_takes_whole_channels(dims):
    network = denseaspp(dims, dropout=0.5, atrous_rates=(1,)).train()
    y = network.atrous[0](torch.rand(1, 64, *(6,) * dims))
    dropped = (y == 0).flatten(2).all(dim=2)
    assert dropped.any()
    assert ((y != 0).flatten(2).all(dim=2) | dropped).all()
