"""What a section of the pipeline is made of, read from its annotations: fields, alternatives, what lies below a key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


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


def metadata(annotation: Any) -> Sequence[Any]:
    """The constraints and marks of an annotation."""
    items: list[Any] = []
    for item in get_args(annotation)[1:] if get_origin(annotation) is Annotated else ():
        items += item.metadata if isinstance(item, FieldInfo) else [item]
    return items


def is_list(annotation: Any) -> bool:
    """A list of any length: ``list[X]`` or ``tuple[X, ...]``."""
    return get_origin(annotation) is list or get_args(annotation)[1:] == (...,)


def below(annotation: Any, found: Any, part: str | int) -> Any:
    """The annotation one key further down."""
    for section in sections_at(annotation, found):
        if field := fields_of(section).get(str(part)):
            return field_type(field)
    for member in map(base, members(annotation)):
        kind, args = get_origin(member), get_args(member)
        if kind in (dict, Mapping) and isinstance(found, dict):
            return args[1]
        if is_list(member) and isinstance(found, list):
            return args[0]
        if kind is tuple and isinstance(found, list):
            return args[int(part)] if int(part) < len(args) else None
    return None


def keys(section: type, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every key of a section and of those below it with its annotation; what lies in lists and mappings is left out."""
    for name, field in fields_of(section).items():
        annotation = field_type(field)
        yield (*path, name), annotation
        for inner in sections_at(annotation):
            yield from keys(inner, (*path, name))
