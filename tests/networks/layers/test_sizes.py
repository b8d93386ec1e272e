import torch

from medseg.networks.layers.sizes import crop, pad_small, pad_to, pad_to_multiple


def test_padding_repeats_the_border_voxel():
    x = torch.tensor([[[[1.0, 2.0]]]])
    assert pad_to(x, (2, 4)).tolist() == [[[[1, 2, 2, 2], [1, 2, 2, 2]]]]


def test_longer_axes_stay():
    x = torch.zeros(1, 1, 5, 2, 3)
    assert pad_to(x, (4, 4, 4)).shape == (1, 1, 5, 4, 4)
    assert pad_to(x, (4, 2, 3)) is x


def test_one_long_axis_is_enough():
    thin = torch.zeros(1, 1, 20, 3)
    assert pad_small(thin, (17, 17)) is thin
    assert pad_small(torch.zeros(1, 1, 16, 3), (17, 17)).shape == (1, 1, 17, 17)


def test_sizes_become_multiples_with_at_least_two_cells():
    assert pad_to_multiple(torch.zeros(1, 1, 9, 3, 4), (8, 8, 4)).shape == (1, 1, 16, 8, 4)
    assert pad_to_multiple(torch.zeros(1, 1, 7, 8), (8, 8)).shape == (1, 1, 16, 16)


def test_cropping_undoes_padding():
    x = torch.randn(2, 3, 5, 7)
    assert torch.equal(crop(pad_to(x, (8, 8)), (5, 7)), x)
