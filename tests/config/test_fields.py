from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from medseg.config.fields import base, below, fields_of, keys, metadata, names_of, sections_at
from medseg.config.schema import PipelineConfig
from medseg.settings import LENGTHENS, NAMES_CLASSES, NotNegative, Positive, settings


@settings
class Adam:
    """A room's own section."""

    name: Literal["adam"]
    rate: Annotated[Positive, LENGTHENS] = 1e-3
    betas: tuple[Positive, ...] = ()


@settings
class Plain:
    """Another one."""

    name: Literal["plain", "simple"]


class Section(BaseModel):
    optimizer: Annotated[Adam | Plain, Field(discriminator="name")]
    terms: list[Adam]
    shares: Annotated[Mapping[str, NotNegative], NAMES_CLASSES]


def test_the_name_chooses_the_section():
    choice = Annotated[Adam | Plain, Field(discriminator="name")]
    assert sections_at(choice, {"name": "simple"}) == [Plain]
    assert sections_at(choice, {"name": "nothing"}) == [Adam, Plain]
    assert names_of(Plain) == ("plain", "simple")
    assert names_of(PipelineConfig) == ()


def test_models_and_settings_have_fields_and_nothing_else_has():
    assert list(fields_of(Section)) == ["optimizer", "terms", "shares"]
    assert list(fields_of(Adam)) == ["name", "rate", "betas"]
    assert fields_of(int) == fields_of(Adam | Plain) == {}


def test_constraints_and_marks_are_read_beside_the_annotation():
    shares = below(Section, {}, "shares")
    assert NAMES_CLASSES in metadata(shares)
    assert NAMES_CLASSES not in metadata(base(shares))
    assert [item.ge for item in metadata(below(shares, {"liver": 1}, "liver"))] == [0.0]


def test_keys_go_through_sections_and_their_alternatives_but_not_into_lists_and_mappings():
    found = {".".join(path): annotation for path, annotation in keys(Section)}
    names = ["optimizer", "optimizer.name", "optimizer.rate", "optimizer.betas", "terms", "shares"]
    assert list(found) == names
    assert LENGTHENS in metadata(found["optimizer.rate"])
