import pytest
import torch
from torch import nn

from medseg.networks.layers.conv3d import Conv3d

KERNELS = [(3, 3, 3), (15, 1, 1), (1, 7, 1), (7, 7, 7)]


def gradient(layer, x, *, bfloat16):
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        y = layer(x)
    y.float().square().sum().backward()
    return layer.weight.grad.clone()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [(2, 2, 2), (4, 4, 4), (1, 2, 6)])
def test_bfloat16_gradients_are_those_of_float32_whatever_the_size_of_the_map(kernel, size):
    torch.manual_seed(0)
    layer = Conv3d(16, 8, kernel, padding=tuple(k // 2 for k in kernel))
    x = torch.randn(2, 16, *size)
    exact, rough = gradient(layer, x, bfloat16=False), gradient(layer, x, bfloat16=True)
    assert (rough - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("options", [{}, {"stride": (2, 1, 2)}, {"groups": 4, "bias": False}, {"dilation": 2}])
@pytest.mark.parametrize("size", [(2, 1, 3), (5, 5, 5)])
def test_it_is_torch_s_convolution(options, size):
    plain = nn.Conv3d(4, 4, (3, 5, 3), padding=(1, 2, 1) if options.get("dilation") is None else (2, 4, 2), **options)
    layer = Conv3d(4, 4, (3, 5, 3), padding=plain.padding, **options)
    layer.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, *size)
    torch.testing.assert_close(layer(x), plain(x))
    with torch.no_grad():
        assert torch.equal(layer(x), plain(x))
