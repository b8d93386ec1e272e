from typing import Annotated, Literal

import pytest
from pydantic import Field

from medseg.networks import NETWORKS, network_options
from medseg.networks.option_rows import OptionRow, option_rows, takes
from medseg.networks.options import Count, Probability, Width


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (bool, "true | false"),
        (Literal[8, 16], "8 | 16"),
        (Count | None, "whole number >= 1 | null"),
        (Probability, "number >= 0, < 1"),
        (Width, "number > 0, <= 8"),
        (tuple[Count, ...], "list of whole number >= 1"),
        (tuple[Literal[1, 2], ...], "list of (1 | 2)"),
        (Annotated[int, Field(ge=12, multiple_of=12)], "whole number >= 12, multiple of 12"),
        (Annotated[tuple[Count, ...], Field(min_length=2)], "list of whole number >= 1"),
    ],
)
def test_what_an_option_takes_in_words(annotation, expected):
    assert takes(annotation) == expected


def test_an_encoder_s_options_are_listed_with_the_network_s_own():
    rows = {row.name: row for row in option_rows("deeplabv3plus")}
    assert list(rows) == list(network_options("deeplabv3plus"))
    assert rows["output_stride"].takes == "4 | 8 | 16 | 32"
    assert rows["output_stride"].default == 16
    assert rows["aspp_channels"] == OptionRow(
        "aspp_channels",
        "whole number >= 1 | null",
        None,
        "of each ASPP branch, of the decoder's first input and its two convolutions; None is the paper's 256 times the "
        "width.",
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_every_option_of_every_network_is_documented(name):
    for row in option_rows(name):
        assert row.meaning, row.name
        assert row.takes, row.name
