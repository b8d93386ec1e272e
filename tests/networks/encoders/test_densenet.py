import pytest
import torch
from monai.networks.nets import DenseNet as Peer
from torch import nn

from medseg.networks.encoders.densenet import DEPTHS, AveragePool, DenseNet, Depth, Transition
from medseg.networks.layers.blocks import MAX_POOL

TINY = Depth(growth=4, stem=8, layers=(1, 2, 2, 1))


def densenet(name, dims=2, in_channels=3, **options):
    with torch.device("meta"):
        return DenseNet(dims, in_channels, depth=DEPTHS[name], **options)


@pytest.mark.parametrize(
    ("name", "in3_2d", "in1_3d"),
    [
        ("densenet121", 6_953_856, 11_242_624),
        ("densenet161", 26_472_000, 39_430_080),
        ("densenet169", 12_484_480, 18_542_720),
        ("densenet201", 18_092_928, 25_330_816),
    ],
)
def test_number_of_parameters(name, in3_2d, in1_3d):
    assert sum(p.numel() for p in densenet(name).parameters()) == in3_2d
    assert sum(p.numel() for p in densenet(name, 3, 1).parameters()) == in1_3d


def test_state_dict_has_torchvision_s_keys():
    keys = set(densenet("densenet121").state_dict())
    assert len(keys) == 727 - 2  # classifier
    assert {"features.conv0.weight", "features.norm0.bias", "features.denseblock1.denselayer1.norm1.weight"} <= set(
        keys
    )
    assert {"features.denseblock4.denselayer16.conv2.weight", "features.transition3.conv.weight"} <= keys
    assert {"features.transition1.norm.running_mean", "features.norm5.running_var"} <= keys


@pytest.mark.parametrize("dims", [2, 3])
def test_the_last_map_is_that_of_monai_s_densenet(dims):
    torch.manual_seed(0)
    peer = Peer(dims, 1, 2, init_features=TINY.stem, growth_rate=TINY.growth, block_config=TINY.layers).eval()
    encoder = DenseNet(dims, 1, depth=TINY).eval()
    weights = {key.replace(".layers.", "."): w for key, w in peer.state_dict().items() if key.startswith("features")}
    encoder.load_state_dict(weights)
    x = torch.randn(1, 1, *(64,) * dims)
    torch.testing.assert_close(encoder(x)[-1], peer.features(x).relu())


def test_blocks_after_a_stride_that_is_held_back_dilate_and_the_transition_loses_its_pool():
    features = densenet("densenet121", output_stride=8).features
    blocks = [getattr(features, f"denseblock{n}") for n in (1, 2, 3, 4)]
    assert [{layer.conv2.dilation[0] for layer in block} for block in blocks] == [{1}, {1}, {2}, {4}]
    pools = [getattr(features, f"transition{n}").pool for n in (1, 2, 3)]
    assert [isinstance(pool, AveragePool) for pool in pools] == [True, False, False]


@pytest.mark.parametrize("output_stride", [4, 8, 16])
@pytest.mark.parametrize("size", [(64, 48), (65, 97), (20, 33, 17)])
def test_every_nth_voxel_of_a_dilated_map_is_that_of_transitions_that_pick_instead_of_average(output_stride, size):
    torch.manual_seed(0)
    strided, dilated = (
        DenseNet(len(size), 1, depth=TINY, output_stride=s).eval().double() for s in (32, output_stride)
    )
    dilated.load_state_dict(strided.state_dict())
    for kept, lost in zip(strided.features, dilated.features, strict=True):
        if isinstance(kept, Transition) and isinstance(lost.pool, nn.Identity):
            kept.pool = MAX_POOL[len(size)](1, stride=2)
    x = torch.randn(1, 1, *size, dtype=torch.float64)
    every = (..., *(slice(None, None, 32 // output_stride) for _ in size))
    torch.testing.assert_close(dilated(x)[-1][every], strided(x)[-1])


def test_a_pool_at_the_far_end_averages_the_voxels_that_are_there():
    row = torch.tensor([1.0, 3.0, 5.0])
    assert AveragePool((2, 2))(row.view(1, 1, 1, 3)).tolist() == [[[[2.0, 5.0]]]]
    assert AveragePool((2, 2, 2))(row.view(1, 1, 1, 1, 3)).tolist() == [[[[[2.0, 5.0]]]]]
    assert AveragePool((2, 2, 1))(row.view(1, 1, 3, 1, 1)).flatten().tolist() == [2.0, 5.0]


def test_maps_have_the_channels_and_strides_that_the_encoder_says():
    encoder = densenet("densenet121", 3, 1, output_stride=16, stem_stride=(2, 2, 1))
    maps = encoder(torch.zeros(1, 1, 32, 32, 32, device="meta"))
    assert tuple(m.shape[1] for m in maps) == encoder.channels == (64, 256, 512, 1024, 1024)
    assert tuple(tuple(32 // n for n in m.shape[2:]) for m in maps) == encoder.strides
    assert encoder.strides == ((2, 2, 1), (4, 4, 2), (8, 8, 4), (16, 16, 8), (16, 16, 8))


def test_every_map_has_been_through_norm_and_relu():
    for m in DenseNet(2, 1, depth=TINY).train()(torch.randn(2, 1, 64, 64)):
        assert m.min() == 0
        assert (m.amax(dim=(0, 2, 3)) > 0).all()  # the norm's mean of each channel is 0


@pytest.mark.parametrize("output_stride", [8, 32])
def test_the_last_transition_halves_the_channels_once_more(output_stride):
    encoder = DenseNet(2, 1, depth=TINY, output_stride=output_stride, last_transition=True)
    plain = DenseNet(2, 1, depth=TINY, output_stride=output_stride)
    assert encoder.channels == (*plain.channels[:-1], plain.channels[-1] // 2)
    assert encoder.strides == plain.strides
    maps = encoder(torch.randn(1, 1, 64, 64))
    assert tuple(m.shape[1] for m in maps) == encoder.channels
    assert maps[-1].shape[2:] == (64 // output_stride,) * 2


@pytest.mark.parametrize(("width", "growth", "stem"), [(1, 32, 64), (0.5, 16, 32), (0.125, 4, 8), (0.01, 4, 8)])
def test_width_scales_growth_and_stem(width, growth, stem):
    features = densenet("densenet121", width=width).features
    assert features.denseblock1.denselayer1.conv2.out_channels == growth
    assert features.denseblock1.denselayer1.conv1.out_channels == 4 * growth
    assert features.conv0.out_channels == stem


@pytest.mark.parametrize("name", ["densenet121", "densenet201"])
def test_without_norm_the_activations_stay_in_range(name):
    torch.manual_seed(0)
    encoder = DenseNet(2, 1, depth=DEPTHS[name], width=0.125, norm="none")
    assert 0.01 < encoder(torch.randn(1, 1, 64, 64))[-1].std() < 100
