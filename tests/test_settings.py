"""What holds for every section of settings."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, field, replace
from typing import Any

import pytest

from medseg.settings import Fraction, PositiveInt, ordered, settings


@settings
class Flip:
    """Mirror along axes."""

    probability: Fraction = 0.5
    """Chance for each axis."""
    axes: tuple[str, ...] = ("R",)


@settings
class Augmentation:
    """All of it."""

    flip: Flip | None = None
    copies: PositiveInt = 1
    shares: dict[str, float] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"probability": 2}, "probability"), ({"probability": float("nan")}, "probability"), ({"axis": "R"}, "axis")],
    ids=str,
)
def test_a_wrong_value_or_name_is_refused_when_the_object_is_made(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Flip(**wrong)


def test_a_list_becomes_a_tuple_and_a_mapping_a_section() -> None:
    assert Flip(axes=["R", "A"]).axes == ("R", "A")  # type: ignore[arg-type]
    assert Augmentation(flip={"probability": 0.25}).flip == Flip(0.25)  # type: ignore[arg-type]


def test_sections_are_frozen_and_are_replaced_and_pickled_like_any_dataclass() -> None:
    section = Augmentation(flip=Flip(0.25), shares={"liver": 2.0})
    with pytest.raises(FrozenInstanceError):
        section.copies = 2  # type: ignore[misc]
    assert replace(section, copies=2) == Augmentation(Flip(0.25), 2, {"liver": 2.0})
    with pytest.raises(ValueError, match="copies"):
        replace(section, copies=0)
    assert pickle.loads(pickle.dumps(section)) == section


def test_a_range_upside_down_is_refused() -> None:
    assert ordered((1.0, 1.0)) == (1.0, 1.0)
    with pytest.raises(ValueError, match="must not exceed"):
        ordered((2.0, 1.0))
