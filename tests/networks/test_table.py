import pytest

from medseg.errors import ConfigError
from medseg.networks import NETWORKS
from medseg.networks.published import Published
from medseg.networks.table import NetworkRow, count_parameters, network_row, table


def test_the_table_has_a_row_for_each_network_in_order():
    rows = table(small=True)
    assert [row.name for row in rows] == list(NETWORKS)
    for row in rows:
        assert row.dims == NETWORKS[row.name].dims
        assert row.parameters_2d == count_parameters(row.name, 2, **NETWORKS[row.name].small)
        assert row.parameters_3d is not None
        assert row.encoder in row.encoders
        assert row.macs is row.receptive_field is row.patch_size is None


def test_the_rows_know_their_counts():
    unet = network_row("unet")
    assert (unet.parameters_2d, unet.parameters_3d) == (1_625_161, 4_806_481)
    assert unet.reproduced


def test_the_number_of_classes_changes_only_the_head():
    head = count_parameters("deeplabv3plus", 2, 3, 21) - count_parameters("deeplabv3plus", 2, 3, 2)
    assert head == 19 * (256 + 1)


def test_a_patch_adds_the_costs_of_its_dimension():
    flat, deep = (network_row("segnet", patch_size=size, small=True) for size in ((48, 32), (48, 32, 16)))
    assert flat.patch_size == (48, 32)
    assert deep.receptive_field == (48, 32, 16)
    assert flat.macs
    assert deep.macs
    assert deep.macs > 16 * flat.macs


def test_the_small_form_says_how_it_was_made():
    assert network_row("fcn_resnet", small=True).options == NETWORKS["fcn_resnet"].small
    assert network_row("fcn_resnet", small=True).encoder == "resnet18"


@pytest.mark.parametrize(("counts", "expected"), [((), None), ((7,), True), ((7, 8), False)])
def test_a_network_is_reproduced_where_all_published_counts_are(counts, expected):
    entries = tuple(Published("fcn", count, "somebody", ours=7) for count in counts)
    assert NetworkRow("fcn", "", 2015, (2,), (), 7, None, "", published=entries).reproduced is expected


def test_an_unknown_network_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'segnet'"):
        network_row("segnett")
