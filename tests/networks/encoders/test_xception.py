import pytest
import torch

from medseg.networks.encoders.xception import FLOWS, Xception

NAMES = list(FLOWS)


def xception(name, dims=2, in_channels=3, **options):
    with torch.device("meta"):
        return Xception(dims, in_channels, flow=FLOWS[name], **options)


@pytest.mark.parametrize(
    ("name", "in3_2d", "in1_3d"),
    [
        ("xception41", 24_920_560, 25_438_384),
        ("xception65", 37_867_312, 38_699_632),
        ("xception71", 40_289_736, 41_175_192),
    ],
)
def test_number_of_parameters(name, in3_2d, in1_3d):
    assert sum(p.numel() for p in xception(name).parameters()) == in3_2d
    assert sum(p.numel() for p in xception(name, 3, 1).parameters()) == in1_3d


def test_state_dict_has_timm_s_keys():
    keys = set(xception("xception65").state_dict())
    assert {"stem.0.conv.weight", "stem.1.bn.running_var", "blocks.0.stack.conv1.conv_dw.weight"} <= keys
    assert {"blocks.19.stack.conv3.bn_pw.weight", "blocks.19.shortcut.conv.weight", "blocks.2.shortcut.bn.bias"} <= set(
        keys
    )
    assert not any(key.startswith("blocks.20.shortcut") for key in keys)
    assert not any(".shortcut." in key and key.split(".")[1] not in ("0", "1", "2", "19") for key in keys)


@pytest.mark.parametrize(
    ("output_stride", "entry3", "middle", "exit1", "exit2"),
    [(32, (2, 1), (1, 1), (2, 1), (1, 1)), (16, (2, 1), (1, 1), (1, 1), (1, 2)), (8, (1, 1), (1, 2), (1, 2), (1, 4))],
)
def test_a_block_keeps_the_rate_before_the_stride_that_it_loses(output_stride, entry3, middle, exit1, exit2):
    blocks = xception("xception65", output_stride=output_stride).blocks
    depthwise = [[conv.conv_dw for conv in blocks[i].stack.values()] for i in (2, 3, 19, 20)]
    assert [(c[-1].stride[0], c[-1].dilation[0]) for c in depthwise] == [entry3, middle, exit1, exit2]
    assert all(c[0].stride == c[1].stride == (1, 1) and c[0].dilation == c[-1].dilation for c in depthwise)
    assert all(layer.groups == layer.in_channels for convs in depthwise for layer in convs)


@pytest.mark.parametrize("name", ["xception41", "xception71"])
@pytest.mark.parametrize("output_stride", [4, 8, 16])
@pytest.mark.parametrize("size", [(64, 48), (65, 97), (20, 33, 17)])
def test_every_nth_voxel_of_a_dilated_map_is_the_strided_map(name, output_stride, size):
    torch.manual_seed(0)
    strided, dilated = (
        Xception(len(size), 1, flow=FLOWS[name], width=0.02, output_stride=s).eval().double()
        for s in (32, output_stride)
    )
    dilated.load_state_dict(strided.state_dict())
    x = torch.randn(1, 1, *size, dtype=torch.float64)
    every = (..., *(slice(None, None, 32 // output_stride) for _ in size))
    torch.testing.assert_close(dilated(x)[-1][every], strided(x)[-1])


@pytest.mark.parametrize(("name", "entry_block"), [("xception41", 1), ("xception65", 1), ("xception71", 2)])
def test_the_second_map_is_the_decoder_s_tap(name, entry_block):
    encoder = xception(name, output_stride=8)
    assert (encoder.channels[1], encoder.strides[1]) == (256, (4, 4))

    encoder, seen = Xception(2, 1, flow=FLOWS[name], width=0.05), []
    second = encoder.blocks[entry_block].stack["conv2"]
    second.bn_pw.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    maps = encoder(torch.randn(1, 1, 64, 64))
    assert torch.equal(maps[1], seen[0])
    assert maps[1].min() < 0, "ReLU comes after it"
    assert maps[-1].min() == 0


def test_maps_have_the_channels_and_strides_that_the_encoder_says():
    encoder = xception("xception41", 3, 1, output_stride=16, stem_stride=(2, 2, 1))
    maps = encoder(torch.zeros(1, 1, 32, 32, 32, device="meta"))
    assert tuple(m.shape[1] for m in maps) == encoder.channels == (128, 256, 728, 1024, 2048)
    assert tuple(tuple(32 // n for n in m.shape[2:]) for m in maps) == encoder.strides
    assert encoder.strides == ((2, 2, 1), (4, 4, 2), (8, 8, 4), (16, 16, 8), (16, 16, 8))


def test_batch_norms_have_the_epsilon_of_the_released_weights():
    norms = [m for m in xception("xception41").modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {norm.eps for norm in norms} == {1e-3}


@pytest.mark.parametrize("name", NAMES)
def test_without_norm_the_activations_stay_in_range(name):
    torch.manual_seed(0)
    encoder = Xception(2, 1, flow=FLOWS[name], width=0.125, norm="none")
    assert 0.01 < encoder(torch.randn(1, 1, 64, 64))[-1].std() < 100
