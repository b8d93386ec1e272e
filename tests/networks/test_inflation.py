"""A 3D network is its 2D form with one more axis: with kernels that look along K only at their own slice, a volume that
is constant along K has the logits of its slice in every slice."""

import pytest
import torch
from torch import nn

from medseg.networks import NETWORKS, build_network
from medseg.networks.encoder_names import ENCODERS
from medseg.networks.encoders import Backbone

ANOTHER_IN_3D = {
    "gcn": "three chains of one-axis kernels, not two",
    "refinenet": "pools over three cells, not five",
    "mednext": "enlarges a shortcut by leaving every other voxel along each axis empty",
    "swinunetr": "merges eight cells, not four",
}
"""Networks that cannot be inflated, and why."""

OPTIONS = {
    "segnet": {"flat_levels": 5},  # of equal maxima along K one is unpooled
    "deconvnet": {"flat_levels": 5},
    "frrn": {"stream_stride": 2},
    "duc": {"cell": 1},
    "encnet": {"norm": "none"},  # with a norm, residuals are summed over the voxels
    "rgnet": {"samples": 1},
}
"""What makes 2D and 3D the same network, where the defaults do not."""


def inflate(flat, deep):
    """Give a 3D network the weights of its 2D form."""
    deconvolutions = {f"{key}.weight": m for key, m in deep.named_modules() if isinstance(m, nn.ConvTranspose3d)}
    weights = deep.state_dict()
    for key, value in flat.state_dict().items():
        target = weights[key].zero_()
        if value.ndim == 4 and target.ndim == 5:
            value = value.unsqueeze(-1) * along_k(target.shape[-1], deconvolutions.get(key))
        target[tuple(map(slice, value.shape))] = value  # RGNet's offsets have one coordinate more: 0
    deep.load_state_dict(weights)


def along_k(taps, deconvolution):
    """The centre tap, or in a deconvolution that strides, shares of 1 for the taps that meet in a slice."""
    stride = 1 if deconvolution is None else deconvolution.stride[-1]
    if stride == 1:
        return torch.eye(taps)[taps // 2]
    return torch.tensor([1 / len(range(tap % stride, taps, stride)) for tap in range(taps)])


def assert_same_in_every_slice(found, slice_, middle):
    expected = slice_.unsqueeze(-1).expand_as(found)
    torch.testing.assert_close(found[..., middle], expected[..., middle], rtol=1e-4, atol=1e-4 * slice_.std().item())


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ANOTHER_IN_3D])
def test_a_volume_constant_along_k_has_the_logits_of_its_slice(name):
    torch.manual_seed(0)
    options = {**NETWORKS[name].small, "norm": "batch", **OPTIONS.get(name, {})}
    flat, deep = (build_network(name, dims, 1, 3, **options).eval() for dims in (2, 3))
    inflate(flat, deep)
    x = torch.randn(1, 1, 24, 33)
    with torch.no_grad():
        # the ends of K are seen by pools that count zeros and by deconvolutions
        assert_same_in_every_slice(deep(x.unsqueeze(-1).expand(-1, -1, -1, -1, 64)), flat(x), slice(28, 36))


@pytest.mark.parametrize("name", ENCODERS)
def test_a_volume_constant_along_k_has_an_encoder_s_maps_of_its_slice(name):
    torch.manual_seed(0)
    flat, deep = (Backbone(name, 8, width=0.125).build(dims, 1).eval() for dims in (2, 3))
    inflate(flat, deep)
    x = torch.randn(1, 1, 24, 33)
    with torch.no_grad():
        for found, expected in zip(deep(x.unsqueeze(-1).expand(-1, -1, -1, -1, 9)), flat(x), strict=True):
            assert_same_in_every_slice(found, expected, slice(None))
