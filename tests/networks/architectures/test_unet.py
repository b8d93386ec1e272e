import pytest
import torch

from medseg.errors import ConfigError
from medseg.networks.architectures.unet import UNet
from medseg.networks.table import count_parameters


@pytest.mark.parametrize(
    ("dims", "options", "expected"),
    [
        (2, {}, 1_625_161),
        (3, {}, 4_806_481),
        (2, {"channels": (32, 64, 128, 256, 512), "num_res_units": 0}, 2_638_442),
        (3, {"channels": (32, 64, 128, 256, 512), "num_res_units": 0}, 7_912_874),
    ],
)
def test_number_of_parameters(dims, options, expected):
    assert count_parameters("unet", dims, 1, 2, **options) == expected


def test_a_size_that_fits_is_monai_s_own_answer():
    torch.manual_seed(0)
    network = UNet(2, 1, 2, channels=(8, 16, 32), strides=(2, 2)).eval()
    x = torch.randn(1, 1, 16, 8)
    assert torch.equal(network(x), network.unet(x))


def test_axes_may_stride_their_own_way():
    network = UNet(3, 1, 2, channels=(8, 16, 32), strides=((2, 2, 1), 2), num_res_units=0)
    assert network.strides == (4, 4, 2)
    assert network(torch.zeros(1, 1, 9, 8, 3)).shape == (1, 2, 9, 8, 3)


@pytest.mark.parametrize(
    ("strides", "message"),
    [((2, 2, 2), r"network.strides: expected 2 .* found 3"), (((2, 2, 2), 2), r"expected 2 numbers for each level")],
)
def test_strides_that_do_not_fit_are_refused(strides, message):
    with pytest.raises(ConfigError, match=message):
        UNet(2, 1, 2, channels=(8, 16, 32), strides=strides)
