import pytest
import torch
from torch import nn

from medseg.inference.blockwise_norm import BlockwiseNorm, with_blockwise_norms
from medseg.networks import build_network

NORMS = [
    (nn.InstanceNorm2d(6, affine=True), (16, 12)),
    (nn.InstanceNorm2d(6), (16, 13)),
    (nn.InstanceNorm3d(6, affine=True), (16, 12, 7)),
    (nn.GroupNorm(2, 6), (9, 10, 11)),
    (nn.GroupNorm(6, 6, affine=False), (8, 8)),
    (nn.GroupNorm(1, 6), (1, 5, 22)),
]


@pytest.mark.parametrize(("norm", "spatial"), NORMS)
def test_is_the_norm(norm, spatial):
    norm = norm.double()
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    features = torch.randn(2, 6, *spatial, dtype=torch.float64) * 3 + 5
    assert torch.allclose(BlockwiseNorm(norm)(features), norm(features), rtol=0, atol=1e-12)


def test_copy_leaves_the_network_as_it_is():
    network = build_network("unet", 3, 1, 2, channels=[2, 4], strides=[2], num_res_units=0, norm="instance").eval()
    changed = with_blockwise_norms(network)
    assert not any(isinstance(m, BlockwiseNorm) for m in network.modules())
    assert sum(isinstance(m, BlockwiseNorm) for m in changed.modules()) == sum(
        isinstance(m, nn.InstanceNorm3d) for m in network.modules()
    )
    image = torch.rand(1, 1, 8, 8, 8)
    assert torch.allclose(changed(image), network(image), atol=1e-5)


def test_norms_with_running_statistics_stay():
    network = nn.Sequential(nn.InstanceNorm3d(2, track_running_stats=True), nn.BatchNorm3d(2), nn.GroupNorm(1, 2))
    kinds = [type(module) for module in with_blockwise_norms(network)]
    assert kinds == [nn.InstanceNorm3d, nn.BatchNorm3d, BlockwiseNorm]
