import pytest
import torch
from torch import nn

from medseg.errors import ConfigError
from medseg.networks.encoders import Backbone
from medseg.networks.encoders.resnet38 import WideBlock, WideResNet38


def encoder(dims=2, in_channels=1, **options):
    torch.manual_seed(0)
    return WideResNet38(dims, in_channels, **({"width": 0.125} | options)).eval()


def paper(dims=2, in_channels=3, **options):
    with torch.device("meta"):
        return WideResNet38(dims, in_channels, **options)


def blocks(network):
    return [[block for block in level if isinstance(block, WideBlock)] for level in network.levels]


def spread(block):
    """Dilation, stride and kernel of each convolution along the first axis."""
    return [(c.dilation[0], c.stride[0], c.kernel_size[0]) for c in block.convs if isinstance(c, nn.Conv2d)]


@pytest.mark.parametrize(
    ("dims", "in_channels", "expected"),
    [(2, 3, 105_070_912), (2, 1, 105_069_760), (3, 3, 266_538_688), (3, 1, 266_535_232)],
)
def test_number_of_parameters(dims, in_channels, expected):
    assert sum(p.numel() for p in paper(dims, in_channels).parameters()) == expected


def test_nothing_is_pooled():
    assert not any("Pool" in type(module).__name__ for module in paper().modules())


def test_levels_have_the_paper_s_blocks_and_channels():
    network = paper()
    assert [len(level) for level in blocks(network)] == [3, 3, 6, 3, 1, 1]
    widths = [[c.out_channels for c in level[0].convs if isinstance(c, nn.Conv2d)] for level in blocks(network)]
    assert widths == [[128, 128], [256, 256], [512, 512], [512, 1024], [512, 1024, 2048], [1024, 2048, 4096]]
    assert network.channels == (128, 256, 512, 1024, 4096)


def test_the_first_convolutions_of_levels_2_to_4_stride_and_levels_5_and_6_dilate_half_a_step_late():
    levels = blocks(paper())
    assert [spread(level[0]) for level in levels[:3]] == [[(1, 2, 3), (1, 1, 3)]] * 3
    assert [spread(block) for block in levels[3]] == [[(1, 1, 3), (2, 1, 3)], *[[(2, 1, 3), (2, 1, 3)]] * 2]
    assert spread(levels[4][0]) == spread(levels[5][0]) == [(1, 1, 1), (4, 1, 3), (1, 1, 1)]


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("size", [(64, 48), (65, 97), (20, 33, 17)])
def test_every_nth_voxel_of_a_dilated_map_is_the_strided_map(output_stride, size):
    strided, dilated = (encoder(len(size), width=1 / 16, output_stride=s).double() for s in (32, output_stride))
    dilated.load_state_dict(strided.state_dict())
    x = torch.randn(1, 1, *size, dtype=torch.float64)
    every = (..., *(slice(None, None, 32 // output_stride) for _ in size))
    torch.testing.assert_close(dilated(x)[-1][every], strided(x)[-1])


def test_the_first_block_of_a_level_has_a_shortcut_from_after_norm_and_relu():
    network = encoder()
    for level, (first, *rest) in zip(network.levels, blocks(network), strict=True):
        assert isinstance(first.shortcut, nn.Conv2d)
        assert first.shortcut.kernel_size == (1, 1)
        assert isinstance(first.convs[0], nn.Conv2d), "the norm and ReLU before it serve the shortcut too"
        assert all(isinstance(block.shortcut, nn.Identity) for block in rest)
        assert [type(layer) for layer in level[-2:]] == [nn.BatchNorm2d, nn.ReLU]
    inputs = []
    for first, *_ in blocks(network):
        first.shortcut.register_forward_hook(lambda _, args, __: inputs.append(args[0]))
        first.convs.register_forward_hook(lambda _, args, __: inputs.append(args[0]))
    network(torch.randn(1, 1, 32, 32))
    assert len(inputs) == 12
    for convs, shortcut in zip(inputs[::2], inputs[1::2], strict=True):
        assert convs is shortcut
        assert convs.min() == 0


def test_a_block_whose_last_convolution_is_zero_is_its_shortcut():
    network = encoder()
    x = torch.randn(1, 16, 6, 6)
    block = blocks(network)[0][1]
    nn.init.zeros_(block.convs[-1].weight)
    assert torch.equal(block(x), x)


def test_dropout_comes_before_the_last_convolution_of_the_last_two_levels():
    levels = blocks(paper())
    assert [[block.convs[-2].p for block in level] for level in levels] == [
        [0] * 3,
        [0] * 3,
        [0] * 6,
        [0] * 3,
        [0.3],
        [0.5],
    ]
    for level in levels[4:]:
        *_, norm, relu, dropout, last = level[0].convs
        kinds = (nn.BatchNorm2d, nn.ReLU, nn.Dropout, nn.Conv2d)
        assert all(isinstance(*pair) for pair in zip((norm, relu, dropout, last), kinds, strict=True))


def test_maps_have_the_channels_and_strides_that_the_encoder_says_and_are_rectified():
    network = encoder(3, output_stride=16, stem_stride=(2, 2, 1))
    maps = network(torch.randn(1, 1, 32, 32, 16))
    assert tuple(m.shape[1] for m in maps) == network.channels
    assert tuple(tuple(n // c for n, c in zip((32, 32, 16), m.shape[2:], strict=True)) for m in maps) == network.strides
    assert network.strides == ((2, 2, 1), (4, 4, 2), (8, 8, 4), (16, 16, 8), (16, 16, 8))
    assert all(m.min() == 0 for m in maps)


def test_a_stem_that_does_not_stride_halves_every_stride():
    network = encoder(stem_stride=1, output_stride=8)
    assert [max(s) for s in network.strides] == [1, 2, 4, 8, 8]
    assert [m.shape[2] for m in network(torch.randn(1, 1, 32, 32))] == [32, 16, 8, 4, 4]


def test_without_norm_the_activations_keep_their_range():
    maps = encoder(norm="none")(torch.randn(1, 1, 64, 64))
    assert all(0.1 < m.std() < 10 for m in maps)


def test_an_option_of_the_older_resnets_is_refused():
    with pytest.raises(ConfigError, match=r"network.stem: only ResNet-18 to -152"):
        Backbone("resnet38", stem="s").build(2, 1)
