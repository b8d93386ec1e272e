import subprocess
import sys

import pytest
import torch
from torch import nn

from medseg.networks.layers.conv2d import Conv2d

TRAINED = """
import torch
from medseg.networks.layers.conv2d import Conv2d
layer = Conv2d(8, 16, 1, stride=2, bias=False).to(memory_format=torch.channels_last)
for _ in range(30):
    x = torch.randn(1, 8, 64, 64).contiguous(memory_format=torch.channels_last).requires_grad_()
    layer(x).sum().backward()
"""


@pytest.mark.parametrize("options", [{"stride": 2}, {"stride": (2, 1), "groups": 2, "bias": False}, {}])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 1)])
def test_it_is_torch_s_convolution(kernel, options, size):
    plain = nn.Conv2d(4, 6, kernel, padding=kernel // 2, **options)
    layer = Conv2d(4, 6, kernel, padding=kernel // 2, **options)
    layer.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, *size)
    torch.testing.assert_close(layer(x), plain(x))


def test_a_strided_shortcut_trains_in_channels_last():
    ended = subprocess.run([sys.executable, "-c", TRAINED], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
