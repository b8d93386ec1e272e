"""A 3D network is its 2D form with one more axis: with kernels that look along K only at their own slice, a volume that
is constant along K has the logits of its slice in every slice."""

import pytest
import torch

from medseg.networks import NETWORKS, build_network


def inflated(weight, shape):
    if weight.shape == shape:
        return weight
    volume = torch.zeros(shape)
    volume[..., shape[-1] // 2] = weight
    return volume


@pytest.mark.parametrize("name", ["fcn", "deeplabv3plus"])
def test_a_volume_constant_along_k_has_the_logits_of_its_slice(name):
    torch.manual_seed(0)
    options = NETWORKS[name].small
    flat, deep = (build_network(name, dims, 1, 3, **options).eval() for dims in (2, 3))
    target = deep.state_dict()
    deep.load_state_dict({key: inflated(value, target[key].shape) for key, value in flat.state_dict().items()})
    x = torch.randn(1, 1, 37, 50)
    logits = deep(x.unsqueeze(-1).repeat(1, 1, 1, 1, 9))
    torch.testing.assert_close(logits, flat(x).unsqueeze(-1).expand_as(logits), rtol=1e-4, atol=1e-4)
