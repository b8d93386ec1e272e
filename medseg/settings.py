"""What a section of a pipeline is made of: frozen dataclasses whose values are checked, and what must be known of them.

A room writes its settings once, beside the code that they set up:

    @settings
    class Flip:
        probability: Fraction = 0.5   # and below each field what it means, as a docstring

The pipeline's schema composes such classes, so the same docstrings, bounds and defaults serve Python, YAML, model.json
and the editors' JSON Schema. Unknown names and numbers that are not finite are refused everywhere. Nothing here imports
torch, and no room of settings may.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked_dataclass

T = TypeVar("T")

CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
"""How values are checked, in Python as in YAML."""


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, Field))
def settings(cls: type[T]) -> type[T]:
    """Make a frozen dataclass of a class; making an object of it with a wrong value raises a ValueError that names it.

    Lists become tuples where tuples are declared; ``dataclasses.replace``, ``asdict`` and pickle work as ever.
    """
    return cast(type[T], checked_dataclass(frozen=True, config=CONFIG)(cls))


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
PositiveInt = Annotated[int, Field(ge=1)]
Range = tuple[float, float]


@dataclass(frozen=True)
class Mark:
    """Something that must be known of a field, written into its annotation: ``Annotated[int, LENGTHENS]``."""

    meaning: str


@dataclass(frozen=True)
class NamesClasses(Mark):
    """The mark of a field whose texts, or whose keys, are names of classes.

    Attributes:
        also: words that may stand beside them.
    """

    also: tuple[str, ...] = ()


MAY_CHANGE = Mark("a resumed run may have it otherwise than the run that it continues")
LENGTHENS = Mark("may change on resume, and gives a complete run something to go on with")
NAMES_CLASSES = NamesClasses("its texts, or its keys, are names of classes")
NAMES_CHANNELS = NamesClasses("its texts, or its keys, are names of classes or background", ("background",))
MACHINE_PATH = Mark("a path of this machine, which may be read from the environment")


def ordered(value: Range) -> Range:
    """A range as it is.

    Raises:
        ValueError: its first number exceeds its second.
    """
    if value[0] > value[1]:
        raise ValueError(f"the first number must not exceed the second: {list(value)}")
    return value
