import pytest
import torch

from medseg.networks.encoders.mobilenetv2 import MobileNetV2


@pytest.mark.parametrize(
    ("dims", "in_channels", "last_conv", "expected"),
    [
        (2, 3, True, 2_223_872),
        (2, 1, True, 2_223_296),
        (3, 3, True, 2_354_048),
        (3, 1, True, 2_352_320),
        (2, 3, False, 1_811_712),
        (2, 1, False, 1_811_136),
    ],
)
def test_number_of_parameters(dims, in_channels, last_conv, expected):
    with torch.device("meta"):
        encoder = MobileNetV2(dims, in_channels, last_conv=last_conv)
    assert sum(p.numel() for p in encoder.parameters()) == expected


def test_state_dict_has_torchvision_s_keys():
    with torch.device("meta"):
        keys = MobileNetV2(2, 3, last_conv=True).state_dict().keys()
    assert len(keys) == 314 - 2  # classifier
    assert {"features.0.0.weight", "features.1.conv.0.0.weight", "features.1.conv.2.bias"} <= set(keys)
    assert {"features.2.conv.1.0.weight", "features.2.conv.3.running_var", "features.18.1.weight"} <= set(keys)


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("size", [(64, 48), (65, 97), (20, 33, 17)])
def test_every_nth_voxel_of_a_dilated_map_is_the_strided_map(output_stride, size):
    torch.manual_seed(0)
    strided, dilated = (MobileNetV2(len(size), 1, width=0.25, output_stride=s).eval() for s in (32, output_stride))
    dilated.load_state_dict(strided.state_dict())
    x = torch.randn(1, 1, *size)
    every = (..., *(slice(None, None, 32 // output_stride) for _ in size))
    torch.testing.assert_close(dilated(x)[-1][every], strided(x)[-1], rtol=1e-4, atol=1e-4)


def test_maps_have_the_channels_and_strides_that_the_encoder_says():
    encoder = MobileNetV2(2, 1)
    maps = encoder(torch.zeros(1, 1, 64, 64))
    assert tuple(m.shape[1] for m in maps) == encoder.channels == (16, 24, 32, 96, 320)
    assert tuple(tuple(64 // n for n in m.shape[2:]) for m in maps) == encoder.strides
    assert encoder.strides[-1] == (32, 32)
