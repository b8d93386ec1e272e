import pytest
import torch
from torch.nn import functional as F

from medseg.networks.layers.pyramid_pooling import GridPooling, PyramidPooling, block_means

ADAPTIVE = {2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(12, 6), (13, 7), (6, 12, 18), (7, 8, 11)])
def test_blocks_are_those_of_adaptive_average_pooling(bins, size):
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(block_means(x, bins), ADAPTIVE[len(size)](x, bins))


def test_a_multiple_of_the_bins_gives_the_means_of_equal_blocks():
    x = torch.randn(2, 3, 12, 6)
    torch.testing.assert_close(block_means(x, 3), x.reshape(2, 3, 3, 4, 3, 2).mean(dim=(3, 5)))


def test_a_grid_finer_than_the_map_is_the_map_along_that_axis():
    x = torch.randn(1, 2, 12, 12, 2)
    assert block_means(x, 6).shape == (1, 2, 6, 6, 2)
    torch.testing.assert_close(block_means(x[..., :4, :4, :], 6), x[..., :4, :4, :])


def branch_by_hand(branch, x, bins):
    means = ADAPTIVE[x.ndim - 2](x, bins)
    mode = {2: "bilinear", 3: "trilinear"}[x.ndim - 2]
    return F.interpolate(branch.project(means), size=x.shape[2:], mode=mode, align_corners=False)


@pytest.mark.parametrize("size", [(12, 18), (6, 12, 6)])
def test_each_branch_is_the_projection_of_the_block_means_enlarged(size):
    torch.manual_seed(0)
    x = torch.randn(2, 16, *size)
    pyramid = PyramidPooling(len(size), 16, (1, 2, 3, 6), norm="batch").eval()
    y = pyramid(x)
    assert torch.equal(y[:, :16], x)
    for found, branch, bins in zip(y[:, 16:].split(8, dim=1), pyramid.branches, (1, 2, 3, 6), strict=True):
        torch.testing.assert_close(found, branch_by_hand(branch, x, bins))


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
@pytest.mark.parametrize("size", [(9, 9), (4, 2, 5)])
def test_a_constant_map_gives_constant_branches(norm, size):
    x = torch.randn(1, 8, *(1 for _ in size)).expand(1, 8, *size)
    for branch in PyramidPooling(len(size), 8, (1, 2, 3, 6), norm=norm).eval().branches:
        y = branch(x)
        torch.testing.assert_close(y, y[(..., *(slice(1) for _ in size))].expand_as(y))


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
@pytest.mark.parametrize("size", [(1, 2), (2, 2), (2, 1, 1)])
def test_small_maps_train_at_batch_1_with_every_norm(norm, size):
    x = torch.randn(1, 16, *size, requires_grad=True)
    y = PyramidPooling(len(size), 16, (1, 2, 3, 6), norm=norm)(x)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize(("bins", "width"), [((1, 2, 3, 6), 512), ((1, 2, 3), 680), ((4,), 2048)])
def test_the_branches_share_as_many_channels_as_the_map_has(bins, width):
    with torch.device("meta"):
        pyramid = PyramidPooling(2, 2048, bins, norm="batch")
    assert [branch.project[0].out_channels for branch in pyramid.branches] == [width] * len(bins)
    assert pyramid.out_channels == 2048 + len(bins) * width


def test_a_grid_of_one_block_has_as_many_parameters_as_the_others():
    with torch.device("meta"):
        pyramid = PyramidPooling(2, 2048, (1, 6), norm="batch")
    one, six = pyramid.branches
    assert isinstance(six, GridPooling)
    assert not isinstance(one, GridPooling)
    assert sum(p.numel() for p in one.parameters()) == sum(p.numel() for p in six.parameters())
