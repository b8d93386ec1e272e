from collections.abc import Mapping
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from medseg.config.marks import class_names, marked, named_sections
from medseg.config.problems import dotted
from medseg.config.schema import PipelineConfig
from medseg.settings import (
    LENGTHENS,
    MACHINE_PATH,
    MAY_CHANGE,
    NAMES_CHANNELS,
    NAMES_CLASSES,
    PositiveInt,
    settings,
)


@settings
class Organ:
    """A section below a name."""

    of: Annotated[tuple[str, ...], NAMES_CLASSES] = ()


@settings
class Dice:
    """A term."""

    name: Literal["dice"]
    weights: Annotated[Literal["equal"] | Mapping[str, float], NAMES_CHANNELS] = "equal"


@settings
class Other:
    """Another term."""

    name: Literal["other"]


@settings
class Schedule:
    """Its name changes no key."""

    name: Literal["poly", "cosine"] = "poly"
    steps: Annotated[PositiveInt, LENGTHENS] = 1


class Toy(BaseModel):
    name: str
    root: Annotated[str | None, MACHINE_PATH, MAY_CHANGE] = None
    schedule: Annotated[Schedule, MAY_CHANGE] = Schedule()
    loss: tuple[Dice | Other, ...] = ()
    choice: Annotated[Dice | Other, Field(discriminator="name")]
    inside: Annotated[Mapping[str, Organ], NAMES_CLASSES]


def test_marked_keys_come_in_the_order_of_the_schema():
    assert marked(Toy, MACHINE_PATH) == ["root"]
    assert marked(Toy, MAY_CHANGE, LENGTHENS) == ["root", "schedule", "schedule.steps"]


def test_sections_that_are_one_of_several_by_name_are_named():
    assert named_sections(Toy) == [("choice",)]


def uses(found):
    return {dotted(path): (names, mark.also) for path, names, mark in class_names(Toy, found)}


def test_names_are_found_in_lists_and_mappings_wherever_they_stand():
    found = {
        "name": "x",
        "loss": [{"name": "other"}, {"name": "dice", "weights": {"liver": 1}}],
        "inside": {"tumour": {"of": ["liver", "body"]}},
    }
    assert uses(found) == {
        "loss.1.weights": (["liver"], ("background",)),
        "inside": (["tumour"], ()),
        "inside.tumour.of": (["liver", "body"], ()),
    }


@pytest.mark.parametrize(
    "found", [None, 3, [], {"inside": 3, "loss": "dice"}, {"loss": [{"weights": "equal"}, 1]}, {"x": {}}]
)
def test_values_of_a_wrong_type_name_nothing(found):
    assert uses(found) == {}


def test_what_a_resumed_run_may_have_otherwise():
    assert marked(PipelineConfig, LENGTHENS) == ["training.epochs", "training.max_minutes"]
    assert marked(PipelineConfig, MAY_CHANGE) == [
        "data.num_workers",
        "data.cache_dir",
        "training.validate_every",
        "training.early_stopping",
        "training.compile",
        "training.device",
        "training.threads",
        "training.checkpoint_every_s",
        "evaluation",
        "tracking",
        "runs_dir",
    ]


def test_the_named_sections_of_a_pipeline():
    assert named_sections(PipelineConfig) == [("network",), ("training", "optimizer")]
