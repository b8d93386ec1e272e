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
