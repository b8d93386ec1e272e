"""pydantic's findings in the words of this project: the key, what was expected, what was found, what was meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from medseg.config.expectation import describe, type_at
from medseg.config.fields import base, fields_of, keys, members, names_of, sections_at
from medseg.config.problems import Problem, dotted
from medseg.config.schema import PipelineConfig
from medseg.config.tree import KeyPath, Node
from medseg.errors import ConfigError
from medseg.words import did_you_mean, listed, shown

T = TypeVar("T")


def explain(error: ValidationError, tree: Node, schema: type = PipelineConfig) -> list[Problem]:
    """One problem for each key that the schema refuses.

    Args:
        error: from validating ``tree.plain``.
        tree: the merged pipeline, or a section.
        schema: what it was validated as.

    Returns:
        The problems with their lines; the key is "" for a finding about the pipeline as a whole, which
        ``config.agreement`` can say better.
    """
    plain = tree.plain
    found: dict[KeyPath, Problem] = {}
    for detail in error.errors(include_url=False):
        path = _path(detail["loc"], tree, missing=detail["type"] == "missing")
        path, message = _message(detail, path, plain, schema) if path else ((), detail["msg"])
        # A value that fits no member of a union is found once a member.
        found.setdefault(path, Problem(dotted(path), message, _last(tree, path).origin))
    # A member of a union that does not fit at all hides the one that nearly does: keep the deepest finding.
    return [p for path, p in found.items() if not any(o[: len(path)] == path and o != path for o in found)]


def checked(section: type[T], entries: Mapping[str, Any]) -> T:
    """A room's settings from entries that are written elsewhere than in a pipeline, as on the command line.

    Raises:
        ConfigError: one line a mistake, as for a pipeline.
    """
    try:
        return section(**entries)
    except ValidationError as error:
        problems = explain(error, Node.of(entries), section)
        raise ConfigError("\n".join(str(Problem(found.key, found.message)) for found in problems)) from error


def _path(loc: Sequence[str | int], tree: Node, *, missing: bool) -> KeyPath:
    """The keys in pydantic's location, without the names of union members that it adds."""
    path: list[str | int] = []
    node = tree
    for part in loc[: len(loc) - missing]:
        child = node.child(part)
        if child is not None:
            node = child
            path.append(part)
    return (*path, *loc[len(loc) - missing :])


def _last(tree: Node, path: KeyPath) -> Node:
    return list(tree.along(path))[-1]


def _message(detail: Mapping[str, Any], path: KeyPath, plain: Any, schema: type) -> tuple[KeyPath, str]:
    found = _get(plain, path)
    annotation = type_at(path, plain, schema)
    match detail["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return path, _unknown_key(path, plain, schema)
        case "missing" if isinstance(path[-1], int):  # a list that is too short for its tuple
            whole, items = type_at(path[:-1], plain, schema), _get(plain, path[:-1])
            return path[:-1], f"expected {describe(whole)}, found {shown(items)}"
        case "missing":
            return path, f"missing; expected {describe(annotation)}"
        case "union_tag_invalid" | "union_tag_not_found":
            return (*path, "name"), _wrong_name(annotation, found)
        case "value_error":
            return _blame_entry(path, str(detail["ctx"]["error"]), found)
        case _:
            return path, f"expected {describe(annotation)}, found {shown(found)}{_hint(annotation, found)}"


def _wrong_name(annotation: Any, found: Any) -> str:
    names = [name for section in sections_at(annotation) for name in names_of(section)]
    expected = "expected " + listed([shown(name) for name in names])
    if "name" not in found:
        return f"missing; {expected}"
    return f"{expected}, found {shown(found['name'])}{did_you_mean(found['name'], names)}"


def _blame_entry(path: KeyPath, message: str, found: Any) -> tuple[KeyPath, str]:
    """A check of a whole mapping names the entry to blame before a colon; point at that entry."""
    entry, colon, rest = message.partition(": ")
    return ((*path, entry), rest) if colon and isinstance(found, dict) and entry in found else (path, message)


def _hint(annotation: Any, found: Any) -> str:
    if isinstance(found, str):
        if any("name" in fields_of(section) for section in sections_at(annotation)):
            return f"; write {{name: {found}}}"
        choices = [c for m in map(base, members(annotation)) for c in get_args(m) if isinstance(c, str)]
        return did_you_mean(found, choices)
    if found is None and sections_at(annotation):
        return "; remove the key to take its defaults"
    return ""


def _unknown_key(path: KeyPath, plain: Any, schema: type) -> str:
    """Name the nearest key of the section, else the same key elsewhere, else what the section knows."""
    section, key = path[:-1], str(path[-1])
    sections = sections_at(type_at(section, plain, schema), _get(plain, section))
    known = sorted({name for one in sections for name in fields_of(one)})
    if "." in key and not section:
        return f"unknown key; in a file, write {key.split('.')[0]}: and the rest indented below it"
    if near := did_you_mean(key, known):
        return f"unknown key{near}"
    elsewhere = list(dict.fromkeys(dotted(other) for other, _ in keys(schema) if other[-1] == key))
    if 0 < len(elsewhere) <= 3:  # more than that is no hint
        return f"unknown key; did you mean {listed([repr(name) for name in elsewhere])}?"
    return f"unknown key; known here: {', '.join(known)}"


def _get(plain: Any, path: KeyPath) -> Any:
    for part in path:
        try:
            plain = plain[part]
        except (KeyError, IndexError, TypeError):
            return None
    return plain
