import pytest
import torch

from medseg.networks.encoders.vgg import VGG16


def vgg(dims, in_channels, **options):
    with torch.device("meta"):
        return VGG16(dims, in_channels, **options)


@pytest.mark.parametrize(
    ("dims", "in_channels", "norm", "expected"),
    [
        (2, 3, "none", 14_714_688),
        (2, 1, "none", 14_713_536),
        (3, 3, "none", 44_135_616),
        (3, 1, "none", 44_132_160),
        (2, 3, "batch", 14_723_136),
        (2, 1, "batch", 14_721_984),
        (3, 3, "batch", 44_144_064),
        (3, 1, "batch", 44_140_608),
    ],
)
def test_number_of_parameters(dims, in_channels, norm, expected):
    assert sum(p.numel() for p in vgg(dims, in_channels, norm=norm).parameters()) == expected


@pytest.mark.parametrize(("norm", "pools"), [("none", [4, 9, 16, 23, 30]), ("batch", [6, 13, 23, 33, 43])])
def test_layers_are_numbered_as_in_torchvision(norm, pools):
    features = vgg(2, 3, norm=norm).features
    assert [i for i, layer in enumerate(features) if isinstance(layer, torch.nn.MaxPool2d)] == pools


def test_state_dict_has_torchvision_s_keys():
    assert len(vgg(2, 3).state_dict()) == 32 - 6  # 3 classifier layers
    assert len(vgg(2, 3, norm="batch").state_dict()) == 97 - 6
    assert vgg(2, 3).state_dict()["features.28.weight"].shape == (512, 512, 3, 3)


def test_maps_round_up_at_every_stride():
    maps = VGG16(2, 1, width=0.125)(torch.zeros(1, 1, 33, 5))
    assert [tuple(m.shape[2:]) for m in maps] == [(17, 3), (9, 2), (5, 1), (3, 1), (2, 1)]
    assert [m.shape[1] for m in maps] == [8, 16, 32, 64, 64]


def test_the_encoder_says_its_channels_and_strides():
    encoder = vgg(3, 1, stages=3)
    assert encoder.channels == (64, 128, 256)
    assert encoder.strides == ((2, 2, 2), (4, 4, 4), (8, 8, 8))
    assert encoder.minimum == (5, 5, 5)


def test_the_smallest_size_for_norms_has_two_cells_along_an_axis_that_strides():
    assert vgg(3, 1, flat_levels=5).minimum == (17, 17, 2)
    assert vgg(2, 1, output_stride=8).minimum == (9, 9)


def test_deeplab_s_form_pools_by_three_and_dilates_where_it_does_not_stride():
    features = vgg(2, 3, output_stride=8).features
    pools = [layer for layer in features if isinstance(layer, torch.nn.MaxPool2d)]
    assert [(p.kernel_size, p.stride, p.padding) for p in pools] == [((3, 3), (n, n), (1, 1)) for n in (2, 2, 2, 1, 1)]
    convolutions = [layer for layer in features if isinstance(layer, torch.nn.Conv2d)]
    assert [c.dilation for c in convolutions] == [(1, 1)] * 10 + [(2, 2)] * 3
    assert {key: value.shape for key, value in vgg(2, 3, output_stride=8).state_dict().items()} == {
        key: value.shape for key, value in vgg(2, 3).state_dict().items()
    }


def test_deeplab_s_form_gives_41_cells_for_321_pixels():
    maps = VGG16(2, 1, width=0.125, output_stride=8)(torch.zeros(1, 1, 321, 8))
    assert [tuple(m.shape[2:]) for m in maps] == [(161, 4), (81, 2), (41, 1), (41, 1), (41, 1)]


@pytest.mark.parametrize("size", [(64, 49), (20, 17, 9)])
def test_holes_give_the_maps_of_the_strided_net_and_those_between(size):
    torch.manual_seed(0)
    dense, strided = (VGG16(len(size), 1, width=0.125, output_stride=n) for n in (8, 16))
    strided.load_state_dict(dense.state_dict())
    x = torch.randn(1, 1, *size)
    fine, coarse = dense.rectified(x)[0][-1], strided.rectified(x)[0][-1]
    torch.testing.assert_close(fine[(..., *[slice(None, None, 2)] * len(size))], coarse, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("output_stride", [None, 8])
def test_every_convolution_s_map_is_at_hand(output_stride):
    encoder = VGG16(2, 1, width=0.125, output_stride=output_stride)
    x = torch.randn(1, 1, 20, 20)
    maps, last = encoder.rectified(x)
    assert [m.shape[1] for m in maps] == [c for stage in encoder.widths for c in stage]
    assert all(m.min() >= 0 for m in maps)
    torch.testing.assert_close(last, encoder(x)[-1], rtol=0, atol=0)


def test_a_first_pool_without_stride_halves_every_stride():
    encoder = VGG16(2, 1, width=0.125, output_stride=8, stem_stride=1)
    assert encoder.strides == ((1, 1), (2, 2), (4, 4), (8, 8), (8, 8))
    assert encoder(torch.zeros(1, 1, 17, 8))[-1].shape[2:] == (3, 1)
