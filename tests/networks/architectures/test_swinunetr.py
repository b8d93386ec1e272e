import pytest
import torch

from medseg.errors import ConfigError
from medseg.networks import build_network
from medseg.networks.architectures.swinunetr import SwinUNETR
from medseg.networks.table import count_parameters


@pytest.mark.parametrize(
    ("dims", "channels", "options", "expected"),
    [
        (2, (1, 2), {}, 6_302_228),
        (3, (1, 2), {}, 15_703_004),
        (2, (1, 2), {"feature_size": 48}, 25_137_980),
        (3, (1, 2), {"feature_size": 48}, 62_186_708),
        (2, (1, 2), {"feature_size": 48, "v2": True}, 28_663_100),
        (3, (1, 2), {"feature_size": 48, "v2": True}, 72_762_068),
        (3, (1, 14), {"feature_size": 48}, 62_187_296),
        (3, (4, 3), {"feature_size": 48}, 62_191_941),
    ],
)
def test_number_of_parameters(dims, channels, options, expected):
    assert count_parameters("swinunetr", dims, *channels, **options) == expected


def test_a_size_that_fits_is_monai_s_own_answer():
    torch.manual_seed(0)
    network = SwinUNETR(2, 1, 3, feature_size=12).eval()
    x = torch.randn(1, 1, 64, 32)
    assert torch.equal(network(x), network.network(x))


def test_the_norm_is_that_of_the_convolutions():
    kinds = {
        norm: {
            type(m).__name__
            for m in SwinUNETR(2, 1, 2, feature_size=12, norm=norm).modules()
            if "Norm" in type(m).__name__
        }
        for norm in ("instance", "batch")
    }
    assert kinds == {"instance": {"InstanceNorm2d", "LayerNorm"}, "batch": {"BatchNorm2d", "LayerNorm"}}


def test_a_feature_size_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(ConfigError, match=r"network.feature_size: .*multiple of 12, found 16"):
        build_network("swinunetr", 2, 1, 2, feature_size=16)
