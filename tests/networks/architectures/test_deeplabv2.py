import pytest
import torch

from medseg.networks import build_network
from medseg.networks.table import count_parameters

SMALL = {"encoder": "resnet18", "width": 0.125, "atrous_rates": (1, 2, 3, 4)}
VGG = {"encoder": "vgg16", "norm": "none"}


def deeplab(dims=2, **options):
    torch.manual_seed(0)
    return build_network("deeplabv2", dims, 1, 3, **(SMALL | options)).eval()


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "options", "expected"),
    [
        (2, 3, 21, VGG, 37_877_652),
        (3, 3, 21, VGG, 105_047_316),
        (2, 1, 2, VGG, 37_798_600),
        (3, 1, 2, VGG, 104_965_960),
        (2, 3, 21, VGG | {"atrous_rates": (2, 4, 8, 12)}, 37_877_652),
        (2, 3, 21, {"encoder": "resnet101"}, 44_048_532),
        (3, 3, 21, {"encoder": "resnet101"}, 89_890_068),
        (2, 1, 2, {"encoder": "resnet101"}, 42_641_352),
        (3, 1, 2, {"encoder": "resnet101"}, 85_643_592),
        (2, 1, 2, {"encoder": "resnet50"}, 23_649_224),
        (3, 1, 2, {"encoder": "resnet50"}, 46_597_448),
    ],
)
def test_number_of_parameters(dims, in_channels, num_classes, options, expected):
    assert count_parameters("deeplabv2", dims, in_channels, num_classes, **options) == expected


@pytest.mark.parametrize("dims", [2, 3])
def test_the_head_on_a_resnet_is_linear(dims):
    network = deeplab(dims, dropout=0.5).double()
    for branch in network.branches:
        torch.nn.init.normal_(branch.bias)
    bias = sum(branch.bias for branch in network.branches).view(1, 3, *[1] * dims)
    features = torch.randn(2, network.encoder.channels[-1], *[6] * dims, dtype=torch.float64)
    linear = network.score([features]) - bias
    torch.testing.assert_close(network.score([-3.0 * features]) - bias, -3.0 * linear)


@pytest.mark.parametrize("options", [{}, VGG])
def test_scores_of_the_branches_are_added(options):
    network = deeplab(**options)
    maps = network.encoder(torch.randn(1, 1, 40, 33))
    together = network.score(maps)
    torch.testing.assert_close(together, sum(branch(maps[-1]) for branch in network.branches))
    for branch in network.branches[1:]:
        for parameter in branch.parameters():
            torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(network.score(maps), network.branches[0](maps[-1]))


def test_a_branch_on_vgg16_is_fc6_fc7_fc8_at_its_rate():
    with torch.device("meta"):
        network = build_network("deeplabv2", 2, 3, 21, **VGG)
    assert [branch.fc6[0].dilation for branch in network.branches] == [(r, r) for r in (6, 12, 18, 24)]
    assert {branch.channels for branch in network.branches} == {1024}
    assert {branch.dropout.p for branch in network.branches} == {0.5}
    assert network.dropout.p == 0


@pytest.mark.parametrize(
    ("dims", "output_stride", "rates"),
    [(2, 8, (6, 12, 18, 24)), (3, 8, (3, 6, 9, 12)), (2, 16, (3, 6, 9, 12)), (3, 32, (1, 1, 2, 3))],
)
def test_rates_keep_their_reach_at_every_stride_unless_given(dims, output_stride, rates):
    assert deeplab(dims, output_stride=output_stride, atrous_rates=None).rates == rates
    assert deeplab(dims, output_stride=output_stride, atrous_rates=(1, 2)).rates == (1, 2)


@pytest.mark.parametrize("options", [{}, VGG])
def test_dropout_acts_in_training_only(options):
    network = deeplab(dropout=0.5, **options)
    x = torch.randn(2, 1, 24, 24)
    assert torch.equal(network(x), network(x))
    network.train()
    assert not torch.equal(network(x), network(x))


def test_rates_beyond_the_last_map_are_named():
    (warning,) = deeplab(3, atrous_rates=(2, 4, 8, 12)).patch_warnings((64, 64, 64))
    assert warning.startswith("network.atrous_rates: 8, 12 reach beyond the last feature map, which has 8 x 8 x 8")
    assert deeplab(3).patch_warnings((64, 64, 64)) == []


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (2, 3, 17)])
def test_any_size_comes_back_on_vgg16_too(norm, size):
    network, x = deeplab(len(size), encoder="vgg16", norm=norm), torch.randn(1, 1, *size)
    for mode in (True, False):
        logits = network.train(mode)(x)
        assert logits.shape == (1, 3, *size)
        assert torch.isfinite(logits).all()
