import pytest
import torch
from torch import nn
from torch.nn import functional as F

from medseg.errors import ConfigError
from medseg.networks import build_network
from medseg.networks.architectures.duc import DUC, largest_gap
from medseg.networks.encoders import Backbone
from medseg.networks.layers.upsampling import pixel_shuffle
from medseg.networks.table import count_parameters

SMALL = {"encoder": "resnet18", "width": 0.125, "atrous_rates": (1, 2)}
CONV = {2: F.conv2d, 3: F.conv3d}


def duc(dims=2, **options):
    torch.manual_seed(0)
    return build_network("duc", dims, 1, 3, **(SMALL | options)).eval()


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "cell", "expected"),
    [
        (2, 3, 19, 4, 65_038_464),
        (2, 3, 21, 4, 67_397_888),
        (2, 3, 21, 8, 141_719_744),
        (3, 3, 21, 4, 382_813_760),
        (3, 3, 21, 8, 2_463_750_464),
        (2, 1, 2, 4, 44_982_208),
        (2, 1, 2, 8, 52_060_480),
        (3, 1, 2, 4, 113_845_696),
        (3, 1, 2, 8, 312_030_144),
        (2, 3, 21, None, 67_397_888),
        (3, 1, 2, None, 85_533_632 + 4 * 16 * (2048 * 27 + 1)),
    ],
)
def test_number_of_parameters(dims, in_channels, num_classes, cell, expected):
    assert count_parameters("duc", dims, in_channels, num_classes, encoder="resnet101", cell=cell) == expected


def test_a_bottleneck_makes_the_projection_of_many_classes_affordable():
    with torch.device("meta"):
        network = DUC(3, 3, 21, backbone=Backbone("resnet101", 8, stem="s"), cell=4, bottleneck_channels=256)
    assert sum(p.numel() for p in network.bottleneck.parameters()) == 2048 * 256 + 2 * 256
    assert sum(p.numel() for p in network.projections.parameters()) == 4 * 21 * 64 * (256 * 27 + 1)


def dilations(layer):
    return [m.dilation[0] for m in layer.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]


def test_the_dilations_of_resnet101_are_the_authors():
    with torch.device("meta"):
        encoder = DUC(2, 1, 2, backbone=Backbone("resnet101", 8, stem="s")).encoder
    assert dilations(encoder.layer2) == [1] * 4
    assert dilations(encoder.layer3) == [2, 2, 5, 9] + 4 * [1, 2, 5, 9] + [1, 2, 5]
    assert dilations(encoder.layer4) == [5, 9, 17]


def test_in_basic_blocks_the_dilations_change_from_convolution_to_convolution():
    encoder = duc(encoder="resnet34", layer3_rates=(1, 2, 3), layer4_rates=(3, 4, 5)).encoder
    assert dilations(encoder.layer3) == 4 * [1, 2, 3]
    assert dilations(encoder.layer4) == 2 * [3, 4, 5]


def test_the_largest_gap_is_known_by_rule():
    assert largest_gap((1, 2, 5)) == 2
    assert largest_gap((1, 2, 9)) == 5
    assert largest_gap((1, 2, 5, 9)) == 2
    assert largest_gap((1, 2)) == 2
    assert largest_gap((1,)) == 1


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    ("rates", "share"),
    [((1, 2, 5), {2: 1.0, 3: 1.0}), ((2, 2, 2), {2: 0.29, 3: 0.16}), ((1, 2, 9), {2: 0.71, 3: 0.59})],
)
def test_what_a_voxel_sees_of_its_receptive_field(dims, rates, share):
    length = 1 + 2 * sum(rates)
    seen = torch.zeros(1, 1, *(length,) * dims)
    seen[(0, 0, *(length // 2,) * dims)] = 1
    for rate in rates:
        seen = CONV[dims](seen, torch.ones(1, 1, *(3,) * dims), padding=rate, dilation=rate).clamp(max=1)
    assert (seen > 0).float().mean().item() == pytest.approx(share[dims], abs=0.005)


@pytest.mark.parametrize(("dims", "cells"), [(2, (4, 4)), (3, (2, 2, 2))])
def test_blocks_with_equal_weights_are_nearest_upsampling(dims, cells):
    network, size = duc(dims), (3, 2, 4)[:dims]
    repeats = network.projections[0].out_channels // 3
    with torch.no_grad():
        for parameter in network.projections.parameters():
            parameter.normal_()
            parameter.copy_(parameter[::repeats].repeat_interleave(repeats, dim=0))
    features = [torch.randn(1, 64, *size)]
    scores = network.score(features)
    coarse = sum(layer(features[0]) for layer in network.projections)[:, ::repeats]
    assert network.cells == cells
    torch.testing.assert_close(scores, F.interpolate(coarse, scale_factor=cells[0], mode="nearest"))


def test_the_four_branches_are_summed():
    network, x = duc(), torch.randn(1, 64, 5, 5)
    first, second = network.projections
    torch.testing.assert_close(network.score([x]), pixel_shuffle(first(x) + second(x), (4, 4)))
    assert (first.dilation, second.dilation) == ((1, 1), (2, 2))


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_scores_have_neither_norm_nor_relu(norm):
    network = duc(norm=norm, bottleneck_channels=8)
    assert all(isinstance(layer, nn.Conv2d) and layer.bias is not None for layer in network.projections)
    logits = network(torch.randn(1, 1, 40, 40))
    assert logits.min() < 0 < logits.max()


def test_an_axis_that_strides_less_has_smaller_blocks():
    network = duc(3, flat_levels=2, cell=4)
    assert network.encoder.strides[-1] == (8, 8, 2)
    assert network.cells == (4, 4, 2)
    assert network(torch.randn(1, 1, 24, 24, 5)).shape == (1, 3, 24, 24, 5)


def test_cells_beyond_the_output_stride_are_refused():
    with pytest.raises(ConfigError, match=r"network.cell: expected at most 8, the output stride, found 9"):
        duc(cell=9)


def test_dilations_that_do_not_suit_are_named():
    assert duc(layer3_rates=(1, 2, 5), layer4_rates=(1, 2, 3)).patch_warnings((128, 128)) == []
    keys = [warning.split(":")[0] for warning in duc(atrous_rates=(6, 24)).patch_warnings((128, 128))]
    assert keys == ["network.atrous_rates", "network.layer4_rates"]
    for rates in ((2, 2, 2), (1, 2, 9)):
        (warning,) = duc(layer3_rates=rates, layer4_rates=(1,)).patch_warnings((128, 128))
        assert warning.startswith("network.layer3_rates: ")
        assert "leave voxels untouched" in warning


def test_hdc_is_for_resnets():
    network = duc(encoder="mobilenet_v2", stem=None)
    assert network.patch_warnings((128, 128)) == []
    with pytest.raises(ConfigError, match=r"network.layer3_rates: only ResNet .* mobilenet_v2"):
        duc(encoder="mobilenet_v2", stem=None, layer4_rates=(1, 2))
    with pytest.raises(ConfigError, match=r"network.dilate_first_block: layer3_rates"):
        duc(dilate_first_block=True)
