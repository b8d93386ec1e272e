from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from pydantic import Field

from medseg.errors import ConfigError
from medseg.networks.options import Count, checked_options, options_model, options_of


def builder(
    dims: int,
    *,
    mode: Literal["a", "b"] = "a",
    stride: Literal[1, 2] | tuple[Count, ...] = 2,
    rate: Annotated[int, Field(ge=1)] | None = None,
):
    return dims, mode, stride, rate


def test_only_keyword_arguments_are_options():
    assert list(options_of(builder)) == ["mode", "stride", "rate"]


def test_a_value_is_given_back_as_the_builder_takes_it():
    assert checked_options(builder, "net", {"stride": [1, 2], "rate": None}) == {"stride": (1, 2), "rate": None}


def test_an_alternative_is_said_in_one_line():
    with pytest.raises(ConfigError) as error:
        checked_options(builder, "net", {"stride": 3})
    assert str(error.value).count("\n") == 0
    assert "1 or 2" in str(error.value)
    assert "tuple" in str(error.value)


def test_an_unknown_option_lists_the_known():
    with pytest.raises(
        ConfigError, match=r"network.rat: unknown option of net; did you mean 'rate'\?; .* mode, stride, rate"
    ):
        checked_options(builder, "net", {"rat": 1})


def test_no_options_are_no_mistake():
    assert checked_options(builder, "net", {}) == {}


def test_the_json_schema_lists_the_choices():
    assert options_model(builder, "net").model_json_schema()["properties"]["mode"]["enum"] == ["a", "b"]


@dataclass(frozen=True)
class Group:
    width: float = 1.0
    norm: Literal["batch", "none"] = "batch"


def grouped(dims: int, *, group: Group = Group(width=0.5), rate: Count = 1):
    return group, rate


def test_a_group_is_taken_apart_for_the_user_and_put_together_for_the_builder():
    assert {name: p.default for name, p in options_of(grouped).items()} == {"width": 0.5, "norm": "batch", "rate": 1}
    assert checked_options(grouped, "net", {"norm": "none", "rate": 2}) == {"group": Group(0.5, "none"), "rate": 2}
    with pytest.raises(ConfigError, match=r"network.widht: unknown option of net; did you mean 'width'\?"):
        checked_options(grouped, "net", {"widht": 1})
