"""What every section of a pipeline is made of: the base model, and the kinds of numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
PositiveInt = Annotated[int, Field(ge=1)]
Range = tuple[float, float]
Spacing = tuple[Positive | None, Positive | None, Positive | None]
LabelValues = int | list[int]


class Section(BaseModel):
    """A frozen section that takes no unknown key and no number that is not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


def ordered(value: Range) -> Range:
    """A range as it is.

    Raises:
        ValueError: its first number exceeds its second.
    """
    if value[0] > value[1]:
        raise ValueError(f"the first number must not exceed the second: {list(value)}")
    return value
