import pytest
import torch
from torch import nn

from medseg.networks.architectures.mednext import MedNeXt
from medseg.networks.table import count_parameters


@pytest.mark.parametrize(
    ("dims", "kernel_size", "expected"),
    [
        (2, 3, (5_472_002, 10_431_938, 17_402_754, 61_503_842)),
        (3, 3, (5_550_914, 10_510_850, 17_533_506, 61_726_754)),
        (2, 5, (5_542_146, 10_502_082, 17_518_978, 61_701_986)),
        (3, 5, (5_980_546, 10_940_482, 18_245_378, 62_940_386)),
    ],
)
def test_number_of_parameters(dims, kernel_size, expected):
    found = tuple(count_parameters("mednext", dims, variant=v, kernel_size=kernel_size) for v in ("S", "B", "M", "L"))
    assert found == expected


@pytest.mark.parametrize("variant", ["S", "L"])
def test_it_is_monai_s_own_variant(variant):
    from monai.networks.nets.mednext import create_mednext

    theirs = create_mednext(variant, spatial_dims=2, in_channels=1, out_channels=3).eval()
    ours = MedNeXt(2, 1, 3, variant=variant).eval()
    ours.network.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 1, 32, 16).double()
    torch.testing.assert_close(ours.double()(x), theirs.double()(x))


def test_a_group_norm_has_groups_of_several_channels():
    norms = [m for m in MedNeXt(2, 1, 2, init_filters=8, norm="group").modules() if isinstance(m, nn.GroupNorm)]
    assert norms
    assert all(m.num_groups < m.num_channels for m in norms)
