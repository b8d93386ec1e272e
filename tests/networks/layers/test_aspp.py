import pytest
import torch

from medseg.networks.layers.aspp import ASPP, ImagePooling


def aspp(dims=2, separable=False, rates=(6, 12, 18)):
    return ASPP(dims, 2048, 256, rates=rates, separable=separable, norm="batch", dropout=0.0)


@pytest.mark.parametrize(("separable", "expected"), [(False, 15_535_104), (True, 3_019_776)])
def test_the_paper_s_head_has_its_number_of_parameters(separable, expected):
    with torch.device("meta"):
        assert sum(p.numel() for p in aspp(separable=separable).parameters()) == expected


def test_rates_are_the_dilations_of_the_branches():
    with torch.device("meta"):
        module = aspp(dims=3, rates=(2, 4, 6))
    assert [branch[0].dilation for branch in module.branches[1:-1]] == [(2, 2, 2), (4, 4, 4), (6, 6, 6)]


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
def test_image_pooling_is_constant_over_space_and_trains_at_batch_1(norm):
    y = ImagePooling(3, 8, 16, norm=norm)(torch.randn(1, 8, 3, 4, 5))
    assert y.shape == (1, 16, 3, 4, 5)
    assert torch.equal(y, y[..., :1, :1, :1].expand_as(y))
    assert y.max() > 0


def test_image_pooling_sees_only_the_mean():
    pooling = ImagePooling(2, 8, 16, norm="batch")
    x = torch.randn(1, 8, 4, 4)
    torch.testing.assert_close(pooling(x), pooling(x.flip(2)))
