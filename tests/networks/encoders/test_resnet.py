import pytest
import torch

from medseg.networks.encoders.resnet import BLOCKS, ResNet


def resnet(name, dims=2, in_channels=3, **options):
    with torch.device("meta"):
        return ResNet(dims, in_channels, depth=BLOCKS[name], **options)


@pytest.mark.parametrize(
    ("name", "stem", "counts"),
    [  # 2D in3, 2D in1, 3D in3, 3D in1
        ("resnet18", "7x7", (11_176_512, 11_170_240, 33_203_904, 33_160_000)),
        ("resnet34", "7x7", (21_284_672, 21_278_400, 63_513_536, 63_469_632)),
        ("resnet50", "7x7", (23_508_032, 23_501_760, 46_198_976, 46_155_072)),
        ("resnet101", "7x7", (42_500_160, 42_493_888, 85_245_120, 85_201_216)),
        ("resnet152", "7x7", (58_143_808, 58_137_536, 117_403_840, 117_359_936)),
        ("resnet50", "c", (23_527_264, 23_526_688, 46_218_784, 46_217_056)),
        ("resnet101", "c", (42_519_392, 42_518_816, 85_264_928, 85_263_200)),
        ("resnet50", "s", (23_631_808, 23_630_656, 46_490_944, 46_487_488)),
        ("resnet101", "s", (42_623_936, 42_622_784, 85_537_088, 85_533_632)),
    ],
)
def test_number_of_parameters(name, stem, counts):
    found = tuple(
        sum(p.numel() for p in resnet(name, dims, in_channels, stem=stem).parameters())
        for dims in (2, 3)
        for in_channels in (3, 1)
    )
    assert found == counts


def test_state_dict_has_torchvision_s_keys():
    keys = resnet("resnet50").state_dict().keys()
    assert len(keys) == 320 - 2  # fc
    assert {"conv1.weight", "bn1.running_mean", "layer3.5.conv2.weight", "layer4.0.downsample.1.bias"} <= set(keys)


def test_deep_stems_have_timm_s_keys():
    keys = resnet("resnet50", stem="s").state_dict().keys()
    assert {"conv1.0.weight", "conv1.1.bias", "conv1.3.weight", "conv1.4.bias", "conv1.6.weight", "bn1.weight"} <= set(
        keys
    )


def test_dilation_begins_half_a_step_late():
    layers = resnet("resnet50", output_stride=8)
    dilations = [[block.conv2.dilation[0] for block in layer] for layer in (layers.layer3, layers.layer4)]
    assert dilations == [[1, 2, 2, 2, 2, 2], [2, 4, 4]]


def test_both_convolutions_of_a_basic_block_dilate():
    block = resnet("resnet18", output_stride=8).layer4[0]
    assert (block.conv1.dilation, block.conv2.dilation) == ((2, 2), (4, 4))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("size", [(64, 48), (65, 97), (20, 33, 17)])
def test_every_nth_voxel_of_a_dilated_map_is_the_strided_map(name, output_stride, size):
    torch.manual_seed(0)
    strided, dilated = (
        ResNet(len(size), 1, depth=BLOCKS[name], width=0.125, output_stride=s).eval().double()
        for s in (32, output_stride)
    )
    dilated.load_state_dict(strided.state_dict())
    x = torch.randn(1, 1, *size, dtype=torch.float64)  # untrained activations grow: float32 would need a loose bound
    every = (..., *(slice(None, None, 32 // output_stride) for _ in size))
    torch.testing.assert_close(dilated(x)[-1][every], strided(x)[-1])


def test_maps_have_the_channels_and_strides_that_the_encoder_says():
    encoder = ResNet(3, 1, depth=BLOCKS["resnet50"], width=0.125, output_stride=16, stem_stride=(2, 2, 1))
    maps = encoder(torch.zeros(1, 1, 32, 32, 32))
    assert tuple(m.shape[1] for m in maps) == encoder.channels == (8, 32, 64, 128, 256)
    assert tuple(tuple(32 // n for n in m.shape[2:]) for m in maps) == encoder.strides
    assert encoder.strides[0] == (2, 2, 1)
    assert encoder.strides[-1] == (16, 16, 8)


def test_a_deep_encoder_without_norm_keeps_its_activations_in_range():
    torch.manual_seed(0)
    encoder = ResNet(2, 1, depth=BLOCKS["resnet101"], width=0.125, norm="none")
    assert 0.01 < encoder(torch.randn(1, 1, 64, 64))[-1].std() < 100
