from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from medseg.config.expectation import describe, type_at
from medseg.losses.terms import LossTerm
from medseg.settings import NAMES_CLASSES, Positive, settings


class Section(BaseModel):
    a: int
    b: int = 0


@settings
class Adam:
    """A room's own section."""

    name: Literal["adam"]
    rate: Positive = 1e-3
    betas: tuple[Positive, ...] = ()
    scales: Annotated[Mapping[str, Positive], NAMES_CLASSES] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "a whole number"),
        (bool, "true or false"),
        (Path | None, "a path or null"),
        (Annotated[int, Field(ge=1)], "a whole number of at least 1"),
        (Annotated[float, Field(gt=0)], "a number above 0"),
        (Annotated[float, Field(ge=0, le=1)], "a number from 0 to 1"),
        (Annotated[float, Field(ge=0, lt=1)], "a number of at least 0 and below 1"),
        (Literal["slice", "slab"], "'slice' or 'slab'"),
        (int | Literal["all"], "a whole number or 'all'"),
        (Annotated[list[int], Field(min_length=2, max_length=3)], "a list of 2 or 3 whole numbers"),
        (Annotated[list[int], Field(min_length=1)], "a list of at least 1 whole numbers"),
        (tuple[float, float], "a list of 2 numbers"),
        (dict[str, float], "a mapping of names to numbers"),
        (Annotated[str, Field(pattern="^a$")], "text that matches ^a$"),
        (Section | Literal["none"], "a mapping with a or 'none'"),
        (LossTerm, "a mapping with name"),
        (Adam, "a mapping with name"),
        (Adam | None, "a mapping with name or null"),
        (tuple[Adam, ...], "a list of mappings"),
        (tuple[int, ...], "a list of whole numbers"),
        (Annotated[tuple[Positive, ...], Field(min_length=1)], "a list of at least 1 numbers above 0"),
        (Mapping[str, Positive], "a mapping of names to numbers above 0"),
    ],
)
def test_annotations_are_described_in_words(annotation, words):
    assert describe(annotation) == words


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("training.epochs", "a whole number of at least 1"),
        ("labels.liver", "a whole number, text, a list of whole numbers or texts or 'rest'"),
        ("training.loss.0.weight", "a number above 0"),
        ("training.optimizer.momentum", "a number from 0 to 1"),
        ("preprocessing.intensity_range_hu.1", "a number"),
        ("tracking.tags.a", "text"),
    ],
)
def test_the_type_at_a_key_follows_lists_names_and_unions(key, words):
    pipeline = {
        "labels": {"liver": 1},
        "training": {"loss": [{"name": "dice"}], "optimizer": {"name": "sgd"}},
        "preprocessing": {"intensity_range_hu": [0, 1]},
        "tracking": {"tags": {"a": "b"}},
    }
    path = [int(part) if part.isdecimal() else part for part in key.split(".")]
    assert describe(type_at(tuple(path), pipeline)) == words


@pytest.mark.parametrize(
    "path", [("nothing",), ("training", "nothing"), ("training", "epochs", "more"), ("network", "depth")]
)
def test_keys_that_the_schema_does_not_name_have_no_type(path):
    assert type_at(path, {"training": {"epochs": 1}, "network": {"name": "unet", "depth": 3}}) is None
