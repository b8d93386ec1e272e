import pytest

from medseg.networks.layers.patches import bin_warnings, cells, rate_warnings, suggested_rates


def test_a_map_rounds_up():
    assert cells((128, 65, 8), (16, 16, 4)) == (8, 5, 2)


def test_rates_beyond_the_map_are_named_with_what_would_do():
    (warning,) = rate_warnings("atrous_rates", (2, 12, 6), (96, 96, 64), (16, 16, 8))
    assert warning.startswith(
        "network.atrous_rates: 6, 12 reach beyond the last feature map, which has 6 x 6 x 8 cells"
    )
    assert "rates up to 2 would use it, such as [1, 2] (" in warning
    assert rate_warnings("atrous_rates", (1, 2, 5), (96, 96, 64), (16, 16, 8)) == []


def test_rates_that_an_option_does_not_list_have_no_example():
    (warning,) = rate_warnings("cascade", (4, 8, 16), (128, 128), (16, 16), listed=False)
    assert "rates up to 3 would use it (" in warning


@pytest.mark.parametrize(
    ("rates", "cells_along", "expected"),
    [
        ((12, 24, 36), 16, (2, 4, 6)),
        ((6, 12, 18), 8, (1, 2, 3)),
        ((12, 24, 36), 12, (1, 3, 4)),
        ((6, 12, 18, 24), 16, (2, 3, 5, 6)),
        ((18, 6, 12), 5, (1, 2)),
        ((6, 12, 18), 1, (1,)),
    ],
)
def test_suggested_rates_keep_their_proportions_within_0_4_of_the_map(rates, cells_along, expected):
    assert suggested_rates(rates, (cells_along, 64)) == expected
    assert max(expected) <= max(1, 0.4 * cells_along)


def test_grids_finer_than_the_map_are_named():
    (warning,) = bin_warnings("bins", (1, 2, 3, 6), (64, 64), (16, 16))
    assert warning.startswith("network.bins: grids of 6 are finer than the feature map, which has 4 x 4 cells")
    assert bin_warnings("bins", (1, 4), (64, 64), (16, 16)) == []
