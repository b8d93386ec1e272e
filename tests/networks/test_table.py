from medseg.networks import NETWORKS
from medseg.networks.table import count_parameters, table


def test_the_table_has_a_row_for_each_network_in_order():
    rows = table()
    assert [row.name for row in rows] == list(NETWORKS)
    for row in rows:
        assert row.dims == NETWORKS[row.name].dims
        assert row.parameters_2d == count_parameters(row.name, 2)
        assert row.parameters_3d is not None


def test_the_rows_know_their_counts():
    unet = next(row for row in table() if row.name == "unet")
    assert (unet.parameters_2d, unet.parameters_3d) == (1_625_161, 4_806_481)


def test_the_number_of_classes_changes_only_the_head():
    head = count_parameters("deeplabv3plus", 2, 3, 21) - count_parameters("deeplabv3plus", 2, 3, 2)
    assert head == 19 * (256 + 1)
