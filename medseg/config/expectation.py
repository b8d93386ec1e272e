"""What the schema expects at a key, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from medseg.config.schema import PipelineConfig
from medseg.config.tree import KeyPath
from medseg.words import listed, shown

_NOUNS: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    Path: ("a path", "paths"),
    NoneType: ("null", "null"),
}
"""Type -> the words for one and for several."""


def type_at(path: KeyPath, pipeline: Any) -> Any:
    """The annotation of the schema at a key, or None where the schema names no such key.

    Args:
        path: keys and list positions.
        pipeline: the plain pipeline, which tells which alternative of a union is meant.
    """
    annotation: Any = PipelineConfig
    for part in path:
        annotation = _below(annotation, pipeline, part)
        if annotation is None:
            return None
        try:
            pipeline = pipeline[part]
        except (KeyError, IndexError, TypeError):
            pipeline = None
    return annotation


def models_at(annotation: Any, found: Any = None) -> list[type[BaseModel]]:
    """The models that an annotation allows; only the named one where ``found`` gives a known ``name``."""
    models = [base(m) for m in members(annotation) if _is_model(base(m))]
    name = found.get("name") if isinstance(found, dict) else None
    return [m for m in models if name in names_of(m)] or models


def names_of(model: type[BaseModel]) -> tuple[Any, ...]:
    """The values that a model's ``name`` may have; () if it has none or any text will do."""
    field = model.model_fields.get("name")
    return get_args(field.annotation) if field and get_origin(field.annotation) is Literal else ()


def field_type(field: FieldInfo) -> Any:
    """A field's annotation with its constraints, which pydantic keeps apart."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def members(annotation: Any) -> Iterator[Any]:
    """The alternatives of a union; anything else is its own only alternative."""
    inner = base(annotation)
    if get_origin(inner) in (Union, UnionType):
        for member in get_args(inner):
            yield from members(member)
    else:
        yield annotation


def base(annotation: Any) -> Any:
    """The annotation without its constraints."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def describe(annotation: Any, *, several: bool = False) -> str:
    """Say what an annotation allows: ``a whole number of at least 1``, ``'slice', 'slab' or 'patch'``."""
    choices: list[str] = []
    for member in members(annotation):
        words = _literals(member) or [_describe_one(member, several)]
        choices += [word for word in words if word not in choices]
    return listed(choices)


def _literals(annotation: Any) -> list[str]:
    return [shown(value) for value in get_args(base(annotation))] if get_origin(base(annotation)) is Literal else []


def _describe_one(annotation: Any, several: bool) -> str:
    inner, limits = base(annotation), _limits(annotation)
    kind = get_origin(inner)
    if kind is list:
        count = [str(limits[key]) for key in ("min_length", "max_length") if key in limits]
        number = f"{listed(count)} " if len(count) == 2 else f"at least {count[0]} " if count else ""
        return f"a list of {number}{describe(get_args(inner)[0], several=True)}"
    if kind is tuple:
        return f"a list of {len(get_args(inner))} {describe(get_args(inner)[0], several=True)}"
    if kind is dict:
        return "a mapping of names to " + describe(get_args(inner)[1], several=True)
    if _is_model(inner):
        required = [name for name, field in inner.model_fields.items() if field.is_required()]
        return "mappings" if several else "a mapping" + (f" with {listed(required, 'and')}" if required else "")
    return _NOUNS[inner][several] + _bounds(limits)


def _bounds(limits: dict[str, Any]) -> str:
    if "pattern" in limits:
        return f" that matches {limits['pattern']}"
    words = {"gt": "above {:g}", "ge": "of at least {:g}", "lt": "below {:g}", "le": "of at most {:g}"}
    if "ge" in limits and "le" in limits:
        return f" from {limits['ge']:g} to {limits['le']:g}"
    return "".join(
        f" {listed([text.format(limits[key]) for key, text in words.items() if key in limits], 'and')}".rstrip()
    )


def _limits(annotation: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in _metadata(annotation):
        for key in ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern"):
            if getattr(item, key, None) is not None:
                found[key] = getattr(item, key)
    return found


def _metadata(annotation: Any) -> Sequence[Any]:
    items: list[Any] = []
    for item in get_args(annotation)[1:] if get_origin(annotation) is Annotated else ():
        items += item.metadata if isinstance(item, FieldInfo) else [item]
    return items


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _below(annotation: Any, found: Any, part: str | int) -> Any:
    """The annotation one key further down."""
    for model in models_at(annotation, found):
        if part in model.model_fields:
            return field_type(model.model_fields[str(part)])
    for member in map(base, members(annotation)):
        kind, args = get_origin(member), get_args(member)
        if kind is dict and isinstance(found, dict):
            return args[1]
        if kind is list and isinstance(found, list):
            return args[0]
        if kind is tuple and isinstance(found, list):
            return args[int(part)] if int(part) < len(args) else None
    return None
