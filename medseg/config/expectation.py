"""What the schema expects at a key, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


def sections_at(annotation: Any, found: Any = None) -> list[type]:
    """The sections that an annotation allows; only the named one where ``found`` gives a known ``name``."""
    sections = [base(m) for m in members(annotation) if fields_of(base(m))]
    name = found.get("name") if isinstance(found, dict) else None
    return [m for m in sections if name in names_of(m)] or sections


def fields_of(section: Any) -> dict[str, FieldInfo]:
    """Name -> field of a section, be it a room's settings or a model of the schema; {} for any other annotation."""
    if isinstance(section, type) and issubclass(section, BaseModel):
        return dict(section.model_fields)
    return dict(getattr(section, "__pydantic_fields__", {}))


def names_of(section: type) -> tuple[Any, ...]:
    """The values that a section's ``name`` may have; () if it has none or any text will do."""
    field = fields_of(section).get("name")
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
    if _is_list(inner):
        count = [str(limits[key]) for key in ("min_length", "max_length") if key in limits]
        number = f"{listed(count)} " if len(count) == 2 else f"at least {count[0]} " if count else ""
        return f"a list of {number}{describe(get_args(inner)[0], several=True)}"
    if kind is tuple:
        return f"a list of {len(get_args(inner))} {describe(get_args(inner)[0], several=True)}"
    if kind in (dict, Mapping):
        return "a mapping of names to " + describe(get_args(inner)[1], several=True)
    if fields := fields_of(inner):
        required = [name for name, field in fields.items() if field.is_required()]
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


def _is_list(annotation: Any) -> bool:
    """A list of any length: ``list[X]`` or ``tuple[X, ...]``."""
    return get_origin(annotation) is list or get_args(annotation)[1:] == (...,)


def _below(annotation: Any, found: Any, part: str | int) -> Any:
    """The annotation one key further down."""
    for section in sections_at(annotation, found):
        if field := fields_of(section).get(str(part)):
            return field_type(field)
    for member in map(base, members(annotation)):
        kind, args = get_origin(member), get_args(member)
        if kind in (dict, Mapping) and isinstance(found, dict):
            return args[1]
        if _is_list(member) and isinstance(found, list):
            return args[0]
        if kind is tuple and isinstance(found, list):
            return args[int(part)] if int(part) < len(args) else None
    return None
