import pytest
import torch
from torch import nn

from medseg.networks.layers.conv3d import Conv3d
from medseg.networks.layers.monai_network import MonaiNetwork, with_norm


class Recorder(nn.Module):
    """Gives its input back and keeps its size."""

    def forward(self, x):
        self.size = tuple(x.shape[2:])
        return x


@pytest.mark.parametrize(
    ("size", "padded"),
    [((16, 24), (16, 24)), ((17, 3), (24, 8)), ((8, 8), (16, 8)), ((1, 1), (16, 8)), ((1, 9), (8, 16))],
)
def test_an_image_is_padded_to_the_stride_and_to_two_cells(size, padded):
    network, x = MonaiNetwork(Recorder(), (8, 8)), torch.randn(1, 1, *size)
    assert torch.equal(network(x), x)
    assert network.network.size == padded


@pytest.mark.parametrize(
    ("norm", "kind"), [("batch", nn.BatchNorm2d), ("instance", nn.InstanceNorm2d), ("none", nn.Identity)]
)
def test_norms_over_space_are_exchanged_and_others_stay(norm, kind):
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.GroupNorm(8, 16), nn.Sequential(nn.GroupNorm(8, 16), nn.LayerNorm(16))
    )
    with_norm(network, norm, 2)
    assert type(network[1]) is type(network[2][0]) is kind
    assert type(network[2][1]) is nn.LayerNorm


def test_a_norm_of_the_wanted_kind_stays_as_it_was():
    own = nn.GroupNorm(2, 16)
    network = with_norm(nn.Sequential(own, nn.InstanceNorm3d(16)), "group", 3)
    assert network[0] is own
    assert network[1].num_groups == 8


def test_3d_convolutions_are_ours_with_the_same_weights():
    theirs = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.ConvTranspose3d(2, 1, 2, stride=2))
    x = torch.randn(1, 1, 4, 4, 4)
    expected = theirs(x)
    network = MonaiNetwork(theirs, (2, 2, 2))
    assert type(network.network[0]) is Conv3d
    assert type(network.network[1]) is nn.ConvTranspose3d
    assert torch.equal(network.run(x), expected)
