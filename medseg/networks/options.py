"""A network's options: its constructor's keyword-only parameters, checked before it is built.

A parameter whose default is a dataclass (``encoders.Backbone``) stands for the dataclass's fields: the user gives them
side by side with the others, the constructor gets them as one value, and the default holds the network's own defaults.

The annotations are the contract: a Literal lists the choices, the aliases below give the ranges. What only makes sense
together (an encoder and its stem) is checked by the constructor, which raises ConfigError too.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from medseg.errors import ConfigError
from medseg.words import did_you_mean

Width = Annotated[float, Field(gt=0.0, le=8.0)]
"""Factor on an encoder's channels; 1 is the paper's."""

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
"""Chance of dropping an activation."""

Count = Annotated[int, Field(ge=1)]
"""Channels, layers, rates."""

FlatLevels = Annotated[int, Field(ge=0, le=5)]
"""Levels of resolution that leave the last axis alone."""


def options_of(builder: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """What the user may give, by name, annotations resolved: keyword-only parameters, groups of them taken apart."""
    parameters: dict[str, inspect.Parameter] = {}
    for name, parameter in _keyword_only(builder).items():
        if not _is_group(parameter):
            parameters[name] = parameter
            continue
        hints = get_type_hints(type(parameter.default), include_extras=True)
        for field in dataclasses.fields(parameter.default):
            default = getattr(parameter.default, field.name)
            parameters[field.name] = parameter.replace(name=field.name, default=default, annotation=hints[field.name])
    return parameters


def _keyword_only(builder: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(builder, eval_str=True).parameters
    return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _is_group(parameter: inspect.Parameter) -> bool:
    return dataclasses.is_dataclass(parameter.default) and not isinstance(parameter.default, type)


def options_model(builder: Callable[..., Any], name: str) -> type[BaseModel]:
    """A strict pydantic model of a builder's options (its JSON schema serves editors)."""
    fields: dict[str, Any] = {key: (p.annotation, p.default) for key, p in options_of(builder).items()}
    model: type[BaseModel] = create_model(name, __config__=ConfigDict(extra="forbid", frozen=True), **fields)
    return model


def checked_options(builder: Callable[..., Any], name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as the builder takes them; those not given stay absent.

    Raises:
        ConfigError: one line for each unknown option (with the nearest known) and each wrong value (with what the
            option takes).
    """
    try:
        model = options_model(builder, name).model_validate(dict(options))
    except ValidationError as error:
        raise ConfigError("\n".join(_mistakes(error, name, options_of(builder)))) from None
    checked = {key: getattr(model, key) for key in options}
    for key, parameter in _keyword_only(builder).items():
        if _is_group(parameter):
            own = {f.name for f in dataclasses.fields(parameter.default)} & checked.keys()
            checked[key] = dataclasses.replace(parameter.default, **{name: checked.pop(name) for name in own})
    return checked


def _mistakes(error: ValidationError, name: str, known: Iterable[str]) -> list[str]:
    known = list(known)
    reasons: dict[str, list[str]] = {}
    given: dict[str, Any] = {}
    for item in error.errors():
        option = str(item["loc"][0])
        if item["type"] == "extra_forbidden":
            reasons[option] = [
                f"unknown option of {name}{did_you_mean(option, known)}; expected one of {', '.join(known)}"
            ]
            continue
        # A union reports each of its members: say the alternatives once, then what was found.
        reasons.setdefault(option, []).append(item["msg"][:1].lower() + item["msg"][1:])
        given[option] = item["input"]
    return [
        f"network.{option}: {' or '.join(dict.fromkeys(texts))}"
        + (f", found {given[option]!r}" if option in given else "")
        for option, texts in reasons.items()
    ]
