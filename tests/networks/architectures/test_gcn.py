import pytest
import torch

from medseg.errors import ConfigError
from medseg.networks import build_network
from medseg.networks.architectures.gcn import BoundaryRefinement, GlobalConvolution
from medseg.networks.layers.patches import cells
from medseg.networks.layers.sizes import crop
from medseg.networks.table import count_parameters

SMALL = {"encoder": "resnet18", "width": 0.125, "kernel_size": 5}
R50 = {"encoder": "resnet50"}
K7 = {"encoder": "resnet50", "kernel_size": 7, "upsampling": "linear"}


def gcn(dims=2, num_classes=3, **options):
    torch.manual_seed(0)
    return build_network("gcn", dims, 1, num_classes, **(SMALL | options)).eval()


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "options", "expected"),
    [
        (2, 3, 21, {}, 60_723_364),
        (2, 3, 21, R50, 26_087_588),
        (2, 3, 21, K7, 24_733_844),
        (2, 1, 2, {}, 58_369_452),
        (2, 1, 2, R50, 23_733_676),
        (2, 1, 2, K7, 23_610_220),
        (3, 3, 21, {}, 121_547_980),
        (3, 1, 2, {}, 117_710_308),
        (3, 1, 2, R50, 46_505_444),
        (3, 1, 2, K7, 46_319_076),
    ],
)
def test_number_of_parameters(dims, in_channels, num_classes, options, expected):
    assert count_parameters("gcn", dims, in_channels, num_classes, **options) == expected


def ones(kernel, channels=1):
    layer = GlobalConvolution(channels, 1, kernel)
    for name, parameter in layer.named_parameters():
        torch.nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    return layer


@pytest.mark.parametrize("kernel", [(5, 5), (7, 3), (5, 5, 5), (3, 7, 5)])
def test_kernels_of_ones_answer_an_impulse_with_the_whole_box(kernel):
    x = torch.zeros(1, 1, *[9] * len(kernel))
    x[(0, 0, *[4] * len(kernel))] = 1.0
    expected = torch.zeros_like(x)
    expected[(0, 0, *(slice(4 - k // 2, 5 + k // 2) for k in kernel))] = len(kernel)  # one for each chain
    torch.testing.assert_close(ones(kernel)(x), expected)


def test_the_chains_go_round_the_axes():
    kernels = [[layer.kernel_size for layer in chain] for chain in GlobalConvolution(4, 2, (3, 5, 7)).chains]
    i, j, k = (3, 1, 1), (1, 5, 1), (1, 1, 7)
    assert kernels == [[i, j, k], [j, k, i], [k, i, j]]


@pytest.mark.parametrize("size", [(2, 3), (1, 40), (2, 3, 1)])
def test_a_kernel_longer_than_the_map_sees_zeros_beyond_it(size):
    layer = GlobalConvolution(2, 3, [15] * len(size))
    x = torch.randn(1, 2, *size)
    expected = sum(torch.nn.Sequential(*chain)(x) for chain in layer.chains)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("size", [(4, 4), (4, 4, 4), (2, 2, 2)])
def test_bfloat16_gradients_of_a_kernel_longer_than_the_map_are_those_of_float32(size):
    torch.manual_seed(0)
    layer = GlobalConvolution(16, 4, [7] * len(size))
    x = torch.randn(2, 16, *size)
    gradients = []
    for enabled in (False, True):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y = layer(x)
        y.float().sum().backward()
        gradients.append([p.grad for p in layer.parameters()])
    for exact, rough in zip(*gradients, strict=True):
        torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.05 * exact.abs().max().item())


@pytest.mark.parametrize("dims", [2, 3])
def test_boundary_refinement_with_a_zeroed_second_convolution_is_the_identity(dims):
    block = BoundaryRefinement(dims, 3)
    for parameter in block.conv2.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.randn(1, 3, *[5] * dims)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("kernel_size", [4, (5, 5, 4), (5, 5)])
def test_an_even_kernel_or_too_few_axes_are_refused(kernel_size):
    with pytest.raises(ConfigError, match=r"network.kernel_size: expected 1 or 3 odd numbers, found"):
        gcn(3, kernel_size=kernel_size)


def test_scores_have_a_channel_a_class_unless_more_are_asked_for():
    plain, wide, enough = gcn(), gcn(score_channels=16), gcn(num_classes=20, score_channels=16)
    assert [network.refine[0].conv1.in_channels for network in (plain, wide, enough)] == [3, 16, 20]
    assert isinstance(plain.classifier, torch.nn.Identity)
    assert isinstance(enough.classifier, torch.nn.Identity)
    assert tuple(wide.classifier.weight.shape) == (3, 16, 1, 1)
    assert wide(torch.randn(1, 1, 33, 40)).shape == (1, 3, 33, 40)


def test_linear_upsampling_has_no_parameters_and_deconv_mixes_the_classes():
    assert not list(gcn(upsampling="linear").upsample.parameters())
    assert [tuple(p.shape) for p in gcn(3).upsample.parameters()] == [(3, 3, 4, 4, 4)] * 5


def test_upsampling_follows_the_encoder_s_strides_along_each_axis():
    network = gcn(3, output_stride=16, flat_levels=2, upsampling="deconv")
    kernels = [tuple(up.deconv.kernel_size) if hasattr(up, "deconv") else None for up in network.upsample]
    assert kernels == [None, (4, 4, 4), (4, 4, 4), (4, 4, 1), (4, 4, 1)]
    assert network(torch.randn(1, 1, 33, 20, 6)).shape == (1, 3, 33, 20, 6)


@pytest.mark.parametrize("size", [(96, 96), (77, 90), (65, 127)])
@pytest.mark.parametrize("upsampling", ["linear", "deconv"])
def test_scores_stay_aligned_where_the_size_is_no_multiple_of_the_stride(size, upsampling):
    network = gcn(kernel_size=1, upsampling=upsampling)
    for layer in network.modules():
        if isinstance(layer, BoundaryRefinement):  # so that what is left is 1x1 convolutions and interpolation
            torch.nn.init.zeros_(layer.conv2.weight)
    maps = network.encoder(torch.randn(1, 1, 160, 160))
    strides = network.encoder.strides
    corner = [crop(m, cells(size, stride)) for m, stride in zip(maps, strides, strict=True)]
    scores, whole = network.score(corner), network.score(maps)
    assert all(0 <= have - want < 4 for have, want in zip(scores.shape[2:], size, strict=True))
    # a voxel depends on coarse cells up to half a cell (16 voxels) away: the first 32 see none that was cut off
    torch.testing.assert_close(scores[..., :32, :32], whole[..., :32, :32])


def test_a_kernel_that_reaches_beyond_the_last_map_is_named():
    network = gcn(3, kernel_size=(15, 15, 5))
    (warning,) = network.patch_warnings((128, 128, 64))
    assert warning.startswith(
        "network.kernel_size: 15 x 15 x 5 reaches beyond the last feature map, which has 4 x 4 x 2"
    )
    assert "up to 7 x 7 x 3 would use it" in warning
    assert network.patch_warnings((256, 256, 96)) == []
