import pytest
import torch

from medseg.errors import ConfigError
from medseg.networks.architectures.deconvnet import DeconvNet
from medseg.networks.table import count_parameters

SMALL = {"width": 0.125, "fc_width": 16}
PAPER = {"fc_kernel": 7, "fc_width": 4096}
BOTTLENECK = {"fc_kernel": 4, "fc_width": 1024}


def deconvnet(dims=2, **options):
    torch.manual_seed(0)
    return DeconvNet(dims, 1, 3, **(SMALL | options))


def shape_of(layer, network, x):
    shapes = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape)))
    network(x)
    handle.remove()
    return shapes[0]


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "options", "expected"),
    [
        (2, 3, 21, {}, 251_805_653),
        (2, 1, 2, {}, 251_803_266),
        (2, 1, 2, BOTTLENECK, 47_312_514),
        (3, 3, 21, PAPER, 1_543_843_157),
        (3, 1, 2, PAPER, 1_543_838_466),
        (3, 3, 21, {}, 156_558_677),
        (3, 1, 2, {}, 156_553_986),
        # VGG16-BN, a mirror of the same 13 layers and the classifier
        (2, 3, 21, {"fc": False}, 14_723_136 + 14_756_928 + 1_365),
    ],
)
def test_number_of_parameters(dims, in_channels, num_classes, options, expected):
    assert count_parameters("deconvnet", dims, in_channels, num_classes, **options) == expected


def test_the_decoder_mirrors_the_encoder_in_deconvolutions():
    with torch.device("meta"):
        network = DeconvNet(2, 3, 21)
    widths = [[d.out_channels for d in stage if isinstance(d, torch.nn.ConvTranspose2d)] for stage in network.decoder]
    assert widths == [[512, 512, 512], [512, 512, 256], [256, 256, 128], [128, 64], [64, 64]]
    assert not [layer for layer in network.decoder.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert network.classifier.kernel_size == (1, 1)


def test_fc6_makes_one_cell_of_the_paper_s_224_pixels():
    network = deconvnet().eval()
    x = torch.zeros(1, 1, 224, 224)
    assert shape_of(network.fc[0], network, x) == (1, 16, 1, 1)
    assert shape_of(network.fc, network, x) == (1, 64, 7, 7)
    assert shape_of(network.fc[0], network, torch.zeros(1, 1, 193, 257)) == (1, 16, 1, 3)


@pytest.mark.parametrize(("dims", "kernel"), [(2, 7), (3, 4)])
def test_a_small_map_is_padded_to_fc6_and_cut_back(dims, kernel):
    network = deconvnet(dims)
    x = torch.randn(1, 1, *[40] * (dims - 1), 20)
    assert shape_of(network.fc[0], network, x) == (1, 16, *[1] * dims)
    assert shape_of(network.fc, network, x) == (1, 64, *[kernel] * dims)
    assert network(x).shape == (1, 3, *x.shape[2:])


def test_one_cell_trains_at_batch_1():
    network = deconvnet(fc_kernel=2, norm="instance")
    x = torch.randn(1, 1, 33, 33)
    assert shape_of(network.fc[0], network, x)[2:] == (1, 1)
    network(x).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def test_the_bottleneck_sees_the_whole_map():
    # with fc a voxel at one end moves logits at the other; the decoder alone does not reach that far
    x = torch.zeros(1, 1, 193, 33)
    x[..., 0, 0] = 100.0

    def change(network):
        return (network.eval()(x) - network(torch.zeros_like(x)))[..., -20:, :].abs().max()

    assert change(deconvnet(norm="none")) > 0
    assert change(deconvnet(norm="none", fc=False, fc_width=None)) == 0


def test_a_patch_with_fewer_cells_than_fc6_is_named():
    network = deconvnet(3)
    (warning,) = network.patch_warnings((96, 96, 97))
    assert warning.startswith("network.fc_kernel: 4 is more than the last feature map has, 3 x 3 x 4 cells")
    assert "take 3, fc: false or a larger patch" in warning
    assert network.patch_warnings((97, 97, 128)) == []
    assert deconvnet(3, fc=False, fc_width=None).patch_warnings((16, 16, 16)) == []


@pytest.mark.parametrize("key", ["fc_kernel", "fc_width"])
def test_an_option_of_the_part_that_is_left_out_is_refused(key):
    with pytest.raises(ConfigError, match=f"network.{key}: expected none where fc is false, found 4"):
        DeconvNet(2, 1, 2, fc=False, **{key: 4})
