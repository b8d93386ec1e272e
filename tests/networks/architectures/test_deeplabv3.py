import pytest
import torch
from torch import nn

from medseg.errors import ConfigError
from medseg.networks import build_network
from medseg.networks.encoders.resnet import BLOCKS, ResNet
from medseg.networks.outputs import to_size
from medseg.networks.table import count_parameters

SMALL = {"encoder": "resnet18", "width": 0.125, "atrous_rates": (1, 2, 3)}


def deeplab(dims=2, **options):
    torch.manual_seed(0)
    return build_network("deeplabv3", dims, 1, 3, **(SMALL | options))


def on_meta(**options):
    with torch.device("meta"):
        return build_network("deeplabv3", 2, 3, 21, **options)


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "options", "expected"),
    [
        (2, 3, 21, {}, 39_638_869),
        (2, 3, 19, {}, 39_638_355),
        (2, 3, 2, {}, 39_633_986),
        (2, 3, 21, {"auxiliary": True}, 42_004_074),
        (2, 3, 21, {"encoder": "resnet101"}, 58_630_997),
        (2, 3, 19, {"encoder": "resnet101"}, 58_630_483),
        (2, 3, 2, {"encoder": "resnet101"}, 58_626_114),
        (2, 3, 21, {"encoder": "resnet101", "auxiliary": True}, 60_996_202),
        (2, 3, 21, {"encoder": "resnet101", "extra_conv": False}, 58_040_661),
        (2, 3, 21, {"encoder": "resnet101", "output_stride": 16, "multi_grid": (1, 2, 4)}, 58_630_997),
        (3, 3, 21, {}, 91_821_013),
        (3, 3, 21, {"encoder": "resnet101"}, 130_867_157),
        (2, 1, 2, {"encoder": "resnet18"}, 15_892_930),
        (2, 1, 2, {}, 39_627_714),
        (2, 1, 2, {"encoder": "resnet101"}, 58_619_842),
        (3, 1, 2, {"encoder": "resnet18"}, 46_140_226),
        (3, 1, 2, {}, 91_772_226),
        (3, 1, 2, {"encoder": "resnet101"}, 130_818_370),
    ],
)
def test_number_of_parameters(dims, in_channels, num_classes, options, expected):
    assert count_parameters("deeplabv3", dims, in_channels, num_classes, **options) == expected


@pytest.mark.parametrize(("dims", "expected"), [(2, 13_387_776), (3, 27_543_552)])
def test_each_block_of_the_cascade_has_its_number_of_parameters(dims, expected):
    counts = [count_parameters("deeplabv3", dims, 3, 21, cascade=n) for n in (1, 2, 3)]
    assert counts[2] - counts[1] == counts[1] - counts[0] == expected


def test_the_cascade_is_scored_by_a_classifier_alone():
    assert count_parameters("deeplabv3", 2, 3, 21, cascade=3) == 63_714_389


def test_parameters_of_the_heads_stand_in_torchvision_s_order():
    network = on_meta(auxiliary=True)
    shapes = [tuple(p.shape) for name, p in network.named_parameters() if not name.startswith("encoder.")]
    norm = ((256,), (256,))
    assert shapes == [
        *((256, 2048, 1, 1), *norm),
        *((256, 2048, 3, 3), *norm) * 3,
        *((256, 2048, 1, 1), *norm),
        *((256, 1280, 1, 1), *norm),
        *((256, 256, 3, 3), *norm),
        *((21, 256, 1, 1), (21,)),
        *((256, 1024, 3, 3), *norm),
        *((21, 256, 1, 1), (21,)),
    ]


def rates(module):
    """Dilations of the 3x3 convolutions, in order."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)]
    return [layer.dilation[0] for layer in layers]


@pytest.mark.parametrize(
    ("options", "layer3", "layer4", "head"),
    [
        ({"output_stride": 8}, [1, 2, 2, 2, 2, 2], [2, 4, 4], [12, 24, 36, 1]),
        ({"output_stride": 16}, [1] * 6, [1, 2, 2], [6, 12, 18, 1]),
        ({"output_stride": 16, "extra_conv": False}, [1] * 6, [1, 2, 2], [6, 12, 18]),
        ({"output_stride": 16, "multi_grid": (1, 1, 1)}, [1] * 6, [1, 2, 2], [6, 12, 18, 1]),
        ({"output_stride": 16, "multi_grid": (1, 2, 4)}, [1] * 6, [2, 4, 8], [6, 12, 18, 1]),
        ({"output_stride": 8, "multi_grid": (1, 2, 4)}, [1, 2, 2, 2, 2, 2], [4, 8, 16], [12, 24, 36, 1]),
        ({"output_stride": 8, "atrous_rates": (2, 4)}, [1, 2, 2, 2, 2, 2], [2, 4, 4], [2, 4, 1]),
        ({"output_stride": 32}, [1] * 6, [1, 1, 1], [3, 6, 9, 1]),
    ],
)
def test_rates_of_all_layers(options, layer3, layer4, head):
    network = on_meta(**options)
    assert (rates(network.encoder.layer3), rates(network.encoder.layer4)) == (layer3, layer4)
    assert rates(network.head) == head


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"output_stride": 16}, [[1, 2, 2], [2, 4, 4], [4, 8, 8], [8, 16, 16]]),
        ({"output_stride": 8}, [[2, 4, 4], [4, 8, 8], [8, 16, 16], [16, 32, 32]]),
        ({"output_stride": 16, "dilate_first_block": True}, [[2, 2, 2], [4, 4, 4], [8, 8, 8], [16, 16, 16]]),
        ({"output_stride": 16, "multi_grid": (1, 2, 1)}, [[2, 4, 2], [4, 8, 4], [8, 16, 8], [16, 32, 16]]),
    ],
)
def test_the_cascade_doubles_the_rates_from_block_to_block(options, expected):
    encoder = on_meta(cascade=3, **options).encoder
    assert [rates(layer) for layer in (encoder.layer4, encoder.layer5, encoder.layer6, encoder.layer7)] == expected
    assert encoder.strides[-1] == (options["output_stride"],) * 2


def test_in_basic_blocks_the_factors_run_over_convolutions():
    assert rates(on_meta(encoder="resnet18", output_stride=16, multi_grid=(1, 2, 4)).encoder.layer4) == [2, 4, 8, 2]


@pytest.mark.parametrize("size", [(64, 48), (20, 33, 17)])
def test_every_nth_voxel_of_a_held_back_cascade_is_the_strided_one(size):
    torch.manual_seed(0)
    strided, held = (
        ResNet(len(size), 1, depth=BLOCKS["resnet18"], width=0.125, output_stride=s, cascade=2).eval().double()
        for s in (32, 8)
    )
    held.load_state_dict(strided.state_dict())
    x = torch.randn(1, 1, *size, dtype=torch.float64)
    torch.testing.assert_close(held(x)[-1][(..., *(slice(None, None, 4) for _ in size))], strided(x)[-1])


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("options", [{"encoder": "resnet50"}, {"encoder": "resnet18", "multi_grid": (1, 2, 1)}])
def test_the_cascade_gives_finite_logits_of_the_image_s_size(norm, options):
    for dims, size in ((2, (33, 20)), (3, (9, 12, 5))):
        network = deeplab(dims, atrous_rates=None, cascade=3, norm=norm, auxiliary=True, **options)
        output = network(torch.randn(1, 1, *size))
        assert output.logits.shape == output.auxiliary[0].logits.shape == (1, 3, *size)
        assert output.logits.abs().max() < 100


@pytest.mark.parametrize("option", [{"atrous_rates": (1, 2)}, {"separable": True}])
def test_the_cascade_refuses_options_of_aspp(option):
    with pytest.raises(ConfigError, match=rf"network.{next(iter(option))}: the cascade takes ASPP's place"):
        build_network("deeplabv3", 2, 1, 2, cascade=1, **option)


@pytest.mark.parametrize("option", [{"cascade": 1, "atrous_rates": None}, {"multi_grid": (1, 2, 4)}])
def test_cascade_and_multi_grid_are_for_resnets(option):
    with pytest.raises(ConfigError, match=r"network.(cascade|multi_grid): only ResNet"):
        deeplab(encoder="mobilenet_v2", **option)


def test_on_a_map_of_one_cell_every_branch_has_its_centre_tap_alone():
    aspp = deeplab().eval().head[0]
    x = torch.randn(2, 64, 1, 1)
    for convolution, norm, act in aspp.branches[1:-1]:
        centre = nn.functional.conv2d(x, convolution.weight[..., 1:2, 1:2])
        torch.testing.assert_close(act(norm(convolution(x))), act(norm(centre)))


def test_a_map_of_one_cell_gives_scores_that_are_constant_over_the_image():
    network = deeplab().eval()
    logits = to_size(network.score([torch.randn(1, c, 1, 1) for c in network.encoder.channels]), (8, 8), (7, 8))
    torch.testing.assert_close(logits, logits[..., :1, :1].expand_as(logits))


def test_a_constant_map_gives_constant_branches_but_for_the_border():
    aspp = deeplab().eval().head[0]
    x = torch.randn(1, 64, 1, 1).expand(1, 64, 9, 9)
    for branch in aspp.branches:
        inside = branch(x)[..., 3:-3, 3:-3]
        torch.testing.assert_close(inside, inside[..., :1, :1].expand_as(inside))


def test_separable_branches_are_depthwise_and_pointwise():
    network = deeplab(3, separable=True)
    for depthwise, pointwise in network.head[0].branches[1:-1]:
        assert depthwise[0].groups == depthwise[0].in_channels == network.encoder.channels[-1]
        assert pointwise[0].kernel_size == (1, 1, 1)


def test_the_third_stage_is_trained_with_weight_0_5():
    (third,) = deeplab(auxiliary=True)(torch.randn(1, 1, 33, 40)).auxiliary
    assert (third.name, third.weight, third.logits.shape) == ("stage3", 0.5, (1, 3, 33, 40))


def test_rates_beyond_the_last_map_are_named_with_some_that_are_not():
    (warning,) = deeplab(3, atrous_rates=None).patch_warnings((128, 128, 96))
    assert warning.startswith(
        "network.atrous_rates: 12, 24, 36 reach beyond the last feature map, which has 16 x 16 x 12"
    )
    assert "such as [1, 3, 4]" in warning
    assert deeplab(3, atrous_rates=(1, 3, 4), multi_grid=(1, 1, 2)).patch_warnings((128, 128, 96)) == []


@pytest.mark.parametrize(
    ("options", "key", "beyond"),
    [
        ({"multi_grid": (1, 2, 4)}, "multi_grid", "8"),
        ({"cascade": 3, "atrous_rates": None}, "cascade", "8, 16"),
    ],
)
def test_dilations_of_the_encoder_beyond_its_map_are_named(options, key, beyond):
    (warning,) = deeplab(output_stride=16, **options).patch_warnings((128, 128))
    assert warning.startswith(f"network.{key}: {beyond} reach beyond the last feature map, which has 8 x 8 cells")
    assert "such as" not in warning
