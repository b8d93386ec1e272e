import pytest
import torch
from torch.nn import functional as F

from medseg.networks.layers.upsampling import Upsample, linear_kernel, pixel_shuffle, resize, unpool

POOL = {2: F.max_pool2d, 3: F.max_pool3d}
UNPOOL = {2: F.max_unpool2d, 3: F.max_unpool3d}


def test_kernels_are_the_known_ones():
    assert linear_kernel((2,)).tolist() == [0.25, 0.75, 0.75, 0.25]
    assert linear_kernel((3,)).tolist() == pytest.approx([1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])
    assert linear_kernel((4,)).tolist() == [0.125, 0.375, 0.625, 0.875, 0.875, 0.625, 0.375, 0.125]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("factor", [2, 3, 8])
def test_a_kernel_sums_to_the_factor_for_each_axis(dims, factor):
    assert linear_kernel((factor,) * dims).sum().item() == pytest.approx(factor**dims)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("method", ["depthwise", "dense"])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_fresh_deconvolution_interpolates_but_for_its_border(dims, method, factor):
    x = torch.randn(1, 2, *(6, 5, 4)[:dims])
    fixed = Upsample(2, (factor,) * dims, method="fixed")
    learned = Upsample(2, (factor,) * dims, method=method)
    interior = (..., *(slice(factor, -factor) for _ in range(dims)))
    assert learned(x).shape == fixed(x).shape
    torch.testing.assert_close(learned(x)[interior], fixed(x)[interior])


def test_only_learned_upsampling_has_parameters():
    count = {
        m: sum(p.numel() for p in Upsample(21, (2, 2), method=m).parameters()) for m in ("fixed", "depthwise", "dense")
    }
    assert count == {"fixed": 0, "depthwise": 21 * 16, "dense": 21 * 21 * 16}


@pytest.mark.parametrize("size", [(5, 7), (3, 4, 5)])
def test_resizing_a_constant_keeps_it(size):
    y = resize(torch.full((1, 1, *(2 for _ in size)), 3.0), size)
    torch.testing.assert_close(y, torch.full((1, 1, *size), 3.0))


def test_resizing_to_the_same_size_gives_the_very_tensor():
    x = torch.randn(1, 1, 4, 4)
    assert resize(x, (4, 4)) is x


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("length", [8, 9])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_unpooling_puts_every_maximum_where_it_was(dims, length, ceil_mode):
    x = torch.rand(2, 3, *(length,) * dims) + 0.1
    pooled, indices = POOL[dims](x, 2, ceil_mode=ceil_mode, return_indices=True)
    y = unpool(pooled, indices, x.shape[2:])
    assert (y != 0).sum() == pooled.numel()
    assert torch.equal(y[y != 0], x[y != 0])
    assert torch.equal(POOL[dims](y, 2, ceil_mode=ceil_mode), pooled)
    assert torch.equal(y, UNPOOL[dims](pooled, indices, 2, output_size=x.shape[2:]))


def test_the_gradient_of_unpooling_is_the_value_at_the_maximum():
    x = torch.rand(1, 1, 4, 4)
    pooled, indices = F.max_pool2d(x, 2, return_indices=True)
    pooled.requires_grad_()
    unpool(pooled, indices, (4, 4)).mul(torch.arange(16.0).view(4, 4)).sum().backward()
    assert torch.equal(pooled.grad, indices.float())


def test_each_axis_may_have_its_own_factor():
    x = torch.randn(1, 2, 5, 4, 3)
    fixed = Upsample(2, (4, 2, 1), method="fixed")(x)
    assert fixed.shape == (1, 2, 20, 8, 3)
    learned = Upsample(2, (4, 2, 1), method="depthwise")(x)
    torch.testing.assert_close(learned[..., 4:-4, 2:-2, :], fixed[..., 4:-4, 2:-2, :])


def test_in_2d_pixel_shuffle_is_torch_s():
    x = torch.randn(2, 3 * 16, 5, 4)
    assert torch.equal(pixel_shuffle(x, (4, 4)), F.pixel_shuffle(x, 4))


def test_in_3d_pixel_shuffle_lays_each_class_s_block_out_row_by_row():
    x = torch.randn(1, 2 * 12, 2, 3, 4)
    y = pixel_shuffle(x, (3, 2, 2))
    assert y.shape == (1, 2, 6, 6, 8)
    for c, i, j, k in torch.cartesian_prod(*(torch.arange(n) for n in (2, 6, 6, 8))).tolist():
        channel = c * 12 + (i % 3) * 4 + (j % 2) * 2 + k % 2
        assert y[0, c, i, j, k] == x[0, channel, i // 3, j // 2, k // 2]
