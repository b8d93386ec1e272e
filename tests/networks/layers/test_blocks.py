import pytest
import torch

from medseg.networks.layers.blocks import (
    conv,
    conv_norm_act,
    initialise,
    initialise_classifier,
    norm_layer,
    pooled_norm,
    scaled,
    separable_conv_norm_act,
)


@pytest.mark.parametrize(
    ("channels", "width", "expected"), [(64, 0.5, 32), (64, 0.125, 8), (24, 0.25, 8), (24, 0.5, 16), (21, 1, 21)]
)
def test_width_rounds_to_a_multiple_of_8(channels, width, expected):
    assert scaled(channels, width) == expected


@pytest.mark.parametrize("channels", [8, 21, 24, 64, 256])
def test_group_norm_has_at_least_two_channels_a_group(channels):
    norm = norm_layer("group", channels, 2)
    assert norm.num_groups <= channels // 2
    assert channels % norm.num_groups == 0


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="found 'layer'"):
        norm_layer("layer", 8, 2)


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
def test_the_norm_of_a_pooled_map_trains_at_batch_1_with_as_many_parameters_as_batch_norm(norm):
    layer = pooled_norm(norm, 16)
    y = layer(torch.randn(1, 16, 1, 1))
    assert y.std() > 0.5
    assert sum(p.numel() for p in layer.parameters()) == 32


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("dilation", [1, 3])
def test_a_convolution_keeps_the_size(dims, dilation):
    size = (7, 9, 5)[:dims]
    assert conv(dims, 2, 4, 3, dilation=dilation)(torch.zeros(1, 2, *size)).shape == (1, 4, *size)


def test_a_stride_for_each_axis_rounds_up():
    assert conv(3, 1, 1, 3, stride=[2, 2, 1])(torch.zeros(1, 1, 7, 8, 5)).shape == (1, 1, 4, 4, 5)


def test_a_convolution_has_a_bias_only_without_norm():
    assert conv_norm_act(2, 1, 8, 3, norm="batch")[0].bias is None
    assert conv_norm_act(2, 1, 8, 3, norm="none")[0].bias is not None


def test_a_separable_convolution_works_on_each_channel_then_mixes_them():
    depthwise, pointwise = separable_conv_norm_act(3, 16, 8, 3, norm="batch", dilation=2)
    assert depthwise[0].groups == 16
    assert depthwise[0].dilation == (2, 2, 2)
    assert pointwise[0].weight.shape == (8, 16, 1, 1, 1)


def test_initialisation_keeps_the_scale_of_activations():
    torch.manual_seed(0)
    layers = torch.nn.Sequential(*(conv_norm_act(2, 64, 64, 3, norm="none") for _ in range(8)))
    initialise(layers)
    y = layers(torch.randn(1, 64, 24, 24))
    assert 0.3 < y[..., 8:16, 8:16].square().mean() < 3


def test_a_classifier_starts_small():
    layer = conv(2, 256, 21, 1)
    initialise_classifier(layer)
    assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert (layer.bias == 0).all()
