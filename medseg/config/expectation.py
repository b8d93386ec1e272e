"""What the schema expects at a key, in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from medseg.config.fields import base, below, fields_of, is_list, members, metadata, names_of
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


def type_at(path: KeyPath, pipeline: Any, schema: type = PipelineConfig) -> Any:
    """The annotation of the schema at a key, or None where the schema names no such key.

    Args:
        path: keys and list positions.
        pipeline: the plain pipeline, which tells which alternative of a union is meant.
        schema: what the path starts from.
    """
    annotation: Any = schema
    for part in path:
        annotation = below(annotation, pipeline, part)
        if annotation is None:
            return None
        try:
            pipeline = pipeline[part]
        except (KeyError, IndexError, TypeError):
            pipeline = None
    return annotation


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
    if is_list(inner):
        count = [str(limits[key]) for key in ("min_length", "max_length") if key in limits]
        number = f"{listed(count)} " if len(count) == 2 else f"at least {count[0]} " if count else ""
        return f"a list of {number}{describe(get_args(inner)[0], several=True)}"
    if kind is tuple:
        return f"a list of {len(get_args(inner))} {describe(get_args(inner)[0], several=True)}"
    if kind in (dict, Mapping):
        return "a mapping of names to " + describe(get_args(inner)[1], several=True)
    if fields := fields_of(inner):
        required = [n for n, field in fields.items() if field.is_required() or (n == "name" and names_of(inner))]
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
    for item in metadata(annotation):
        for key in ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern"):
            if getattr(item, key, None) is not None:
                found[key] = getattr(item, key)
    return found
