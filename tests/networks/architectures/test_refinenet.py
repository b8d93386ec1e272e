import pytest
import torch

from medseg.networks import build_network
from medseg.networks.architectures.refinenet import ChainedResidualPooling, ResidualUnit
from medseg.networks.table import count_parameters

SMALL = {"encoder": "resnet18", "width": 0.125}
SHORT = {"crp_stages": 2, "output_rcus": 1}
R50 = {"encoder": "resnet50"}


def refinenet(dims=2, **options):
    torch.manual_seed(0)
    return build_network("refinenet", dims, 1, 3, **(SMALL | options))


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "options", "expected"),
    [
        (2, 3, 21, {}, 118_052_437),
        (2, 3, 60, {}, 118_142_332),
        (2, 3, 150, {}, 118_349_782),
        (2, 3, 19, {}, 118_047_827),
        (2, 3, 21, R50, 99_060_309),
        (2, 3, 21, {"encoder": "resnet152"}, 133_696_085),
        (2, 3, 21, SHORT, 93_277_269),
        (2, 1, 2, {}, 118_002_370),
        (2, 1, 2, R50, 99_010_242),
        (2, 1, 2, SHORT, 93_227_202),
        (3, 3, 21, {}, 311_889_109),
        (3, 1, 2, {}, 311_713_858),
        (3, 1, 2, R50, 272_667_714),
        (3, 1, 2, SHORT, 237_393_474),
    ],
)
def test_number_of_parameters(dims, in_channels, num_classes, options, expected):
    assert count_parameters("refinenet", dims, in_channels, num_classes, **options) == expected


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("block", [ResidualUnit, lambda dims, c: ChainedResidualPooling(dims, c, 4)])
def test_with_zeroed_convolutions_a_block_is_the_identity(dims, block):
    block = block(dims, 4)
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.randn(1, 4, *[7] * dims)
    before = x.clone()
    assert torch.equal(block(x), before)
    assert torch.equal(x, before)


def test_a_residual_unit_adds_its_input_before_the_relu():
    unit = ResidualUnit(2, 1)
    torch.nn.init.zeros_(unit.conv2.weight)
    unit.conv2.weight.data[..., 1, 1] = 1.0
    torch.nn.init.zeros_(unit.conv1.bias)
    torch.nn.init.zeros_(unit.conv1.weight)
    unit.conv1.weight.data[..., 1, 1] = 1.0
    # x + relu(relu(x)): a ReLU in place would have lost the -3
    assert unit(torch.tensor([[[[-3.0, 2.0]]]])).tolist() == [[[[-3.0, 4.0]]]]


@pytest.mark.parametrize(("dims", "size"), [(2, 5), (3, 3)])
def test_a_chain_of_pools_spans_ever_more_and_keeps_the_size(dims, size):
    chain = ChainedResidualPooling(dims, 1, 2)
    for layer in chain.convs:
        torch.nn.init.zeros_(layer.weight)
        layer.weight.data[(0, 0, *[1] * dims)] = 1.0
    x = torch.zeros(1, 1, *[13] * dims)
    x[(0, 0, *[6] * dims)] = 1.0
    y = chain(x)
    line = y[(0, 0, *[6] * (dims - 1))].tolist()
    first, second = size // 2, 2 * (size // 2)
    assert line == [(n == 6) + (abs(n - 6) <= first) + (abs(n - 6) <= second) for n in range(13)]


def test_the_decoder_has_no_norm():
    norms = torch.nn.BatchNorm2d | torch.nn.GroupNorm | torch.nn.InstanceNorm2d
    network = refinenet()
    assert any(isinstance(layer, norms) for layer in network.encoder.modules())
    assert not any(isinstance(layer, norms) for layer in network.blocks.modules())


def test_channels_are_the_coarsest_block_s_and_the_others():
    widths = [block.adapt[0].out_channels for block in refinenet(channels=(24, 16)).blocks]
    assert widths == [24, 16, 16, 16]
    assert refinenet(channels=(8, 16)).classifier.in_channels == 8  # paths are joined at the fewer channels
    with torch.device("meta"):
        paper = [block.adapt[0].out_channels for block in build_network("refinenet", 2, 3, 21).blocks]
    assert paper == [512, 256, 256, 256]


def test_scores_have_the_stride_of_the_first_stage():
    network = refinenet().eval()
    assert network.score(network.encoder(torch.zeros(1, 1, 64, 48))).shape == (1, 3, 16, 12)


@pytest.mark.parametrize("dims", [2, 3])
def test_many_sums_without_norm_keep_the_scale(dims):
    x = torch.randn(1, 1, *[32 if dims == 2 else 16] * dims)
    logits = [refinenet(dims, crp_stages=n, output_rcus=n).eval()(x) for n in (1, 8)]
    assert logits[1].std() < 3 * logits[0].std() + 1


def test_dropout_acts_in_training_only():
    network, x = refinenet(norm="none"), torch.randn(1, 1, 40, 40)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))
