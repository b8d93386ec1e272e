import pytest
import torch

from medseg.errors import ConfigError
from medseg.networks import build_network
from medseg.networks.architectures.deeplabv3plus import DeepLabV3Plus
from medseg.networks.table import count_parameters

SMALL = {"encoder": "resnet18", "width": 0.125}


def deeplab(dims=2, **options):
    torch.manual_seed(0)
    return build_network("deeplabv3plus", dims, 1, 3, **(SMALL | options)).eval()


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "encoder", "separable", "expected"),
    [
        (2, 3, 21, "resnet101", False, 59_344_309),
        (2, 3, 21, "resnet101", True, 45_688_261),
        (2, 3, 21, "resnet50", False, 40_352_181),
        (2, 3, 21, "resnet50", True, 26_696_133),
        (2, 3, 21, "mobilenet_v2", False, 5_816_053),
        (2, 3, 21, "xception65", True, 41_055_413),
        (2, 3, 21, "xception65", False, 54_705_317 + (256 - 128) * 48),  # the peer's decoder taps 128 channels, not 256
        (3, 3, 21, "resnet101", False, 132_981_301),
        (3, 3, 21, "resnet101", True, 88_553_893),
        (2, 1, 2, "resnet50", False, 40_341_026),
        (2, 1, 2, "resnet50", True, 26_684_978),
        (2, 1, 2, "resnet101", False, 59_333_154),
        (2, 1, 2, "resnet101", True, 45_677_106),
        (3, 1, 2, "resnet50", False, 93_886_370),
        (3, 1, 2, "resnet50", True, 49_458_962),
        (3, 1, 2, "resnet101", False, 132_932_514),
        (3, 1, 2, "resnet101", True, 88_505_106),
    ],
)
def test_number_of_parameters(dims, in_channels, num_classes, encoder, separable, expected):
    found = count_parameters("deeplabv3plus", dims, in_channels, num_classes, encoder=encoder, separable=separable)
    assert found == expected


@pytest.mark.parametrize(("output_stride", "rates"), [(16, (6, 12, 18)), (8, (12, 24, 36))])
def test_rates_follow_the_output_stride_unless_given(output_stride, rates):
    assert deeplab(output_stride=output_stride).rates == rates
    assert deeplab(output_stride=output_stride, atrous_rates=(1, 2)).rates == (1, 2)


def test_the_decoder_concatenates_304_channels():
    with torch.device("meta"):
        assert DeepLabV3Plus(2, 3, 21, separable=False).decoder[0][0].in_channels == 256 + 48


@pytest.mark.parametrize("encoder", ["xception41", "xception65", "xception71"])
def test_the_decoder_takes_256_channels_at_stride_4_from_xception(encoder):
    with torch.device("meta"):
        network = build_network("deeplabv3plus", 2, 3, 21, encoder=encoder)
    assert (network.low_level[0].in_channels, network.encoder.strides[1]) == (256, (4, 4))


def test_without_low_level_features_the_logits_are_finite_and_smooth():
    network = deeplab(norm="none", atrous_rates=(1, 2, 3))
    x = torch.randn(1, 1, 64, 64)
    rough = network(x)
    for p in network.low_level.parameters():
        torch.nn.init.zeros_(p)
    smooth = network(x)
    assert torch.isfinite(smooth).all()
    assert _roughness(smooth) < _roughness(rough)


def _roughness(logits):
    return (logits.diff(n=2, dim=2).square().mean() / logits.var()).item()


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2"])
@pytest.mark.parametrize(("stem_stride", "expected"), [(2, (16, 16, 16)), (1, (16, 16, 16)), ((2, 2, 1), (16, 16, 8))])
def test_the_stem_s_stride_is_counted_in_the_output_stride(encoder, stem_stride, expected):
    network = deeplab(3, encoder=encoder, stem_stride=stem_stride, atrous_rates=(1, 2))
    maps = network.encoder(torch.zeros(1, 1, 32, 32, 32))
    assert tuple(32 // n for n in maps[-1].shape[2:]) == network.encoder.strides[-1] == expected
    assert network(torch.zeros(1, 1, 32, 20, 9)).shape == (1, 3, 32, 20, 9)


def test_rates_beyond_the_last_map_are_named():
    network = deeplab(3, stem_stride=(2, 2, 1))
    (warning,) = network.patch_warnings((128, 128, 64))
    assert warning.startswith(
        "network.atrous_rates: 12, 18 reach beyond the last feature map, which has 8 x 8 x 8 cells"
    )
    assert "rates up to 3 would use it, such as [1, 2, 3]" in warning
    assert deeplab(3, atrous_rates=(1, 2, 3)).patch_warnings((128, 128, 128)) == []


def test_a_stem_for_mobilenet_is_refused():
    with pytest.raises(ConfigError, match=r"network.stem: only ResNet"):
        deeplab(encoder="mobilenet_v2", stem="s")
