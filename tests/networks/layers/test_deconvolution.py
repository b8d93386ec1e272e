import pytest
import torch
from torch.nn import functional as F

from medseg.networks.layers.deconvolution import deconv


@pytest.mark.parametrize("dims", [2, 3])
def test_at_stride_1_it_is_a_convolution_with_the_kernel_flipped_and_its_channels_swapped(dims):
    layer = deconv(dims, 2, 5, 3, padding=1)
    assert layer.weight.shape == (2, 5, *[3] * dims)
    x = torch.randn(1, 2, *[6] * dims)
    convolve = {2: F.conv2d, 3: F.conv3d}[dims]
    kernel = layer.weight.transpose(0, 1).flip(tuple(range(2, 2 + dims)))
    torch.testing.assert_close(layer(x), convolve(x, kernel, padding=1))


@pytest.mark.parametrize(("kernel", "stride", "expected"), [(7, 1, (8, 9)), (3, 2, (5, 7)), ((3, 1), (2, 1), (5, 3))])
def test_size_of_the_result(kernel, stride, expected):
    assert deconv(2, 1, 1, kernel, stride=stride)(torch.zeros(1, 1, 2, 3)).shape[2:] == expected


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (4, 2), (7, 1)])
def test_weights_double_the_second_moment_as_he_s_do(kernel, stride):
    torch.manual_seed(0)
    y = deconv(2, 64, 64, kernel, stride=stride)(torch.randn(1, 64, 24, 24))
    assert y[..., 8:-8, 8:-8].square().mean().item() == pytest.approx(2, rel=0.2)
