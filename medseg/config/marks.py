"""What must be known of a setting stands as a mark on its field; here the marks of a whole pipeline are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medseg.config.fields import below, fields_of, keys, metadata, names_of, sections_at
from medseg.config.problems import dotted
from medseg.config.tree import KeyPath
from medseg.settings import Mark, NamesClasses


def marked(schema: type, *marks: Mark) -> list[str]:
    """The keys of a schema that carry one of the marks, in the schema's order; a marked section stands for its keys."""
    return [dotted(path) for path, annotation in keys(schema) if set(marks) & set(metadata(annotation))]


def named_sections(schema: type) -> list[KeyPath]:
    """The sections that are a name and that name's own options: one of several sections by its name, or any name's."""
    return [path for path, annotation in keys(schema) if _is_named(sections_at(annotation))]


def _is_named(sections: list[type]) -> bool:
    named = [section for section in sections if "name" in fields_of(section)]
    return len(named) > 1 or any(not names_of(section) for section in named)


def class_names(annotation: Any, found: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, list[str], NamesClasses]]:
    """Every place of a pipeline that names classes.

    Args:
        annotation: the schema, or what it says at ``path``.
        found: the plain values there; values of a wrong type name nothing.
        path: where this is.

    Yields:
        The key, the names in its list or the keys of its mapping, and the mark.
    """
    for mark in metadata(annotation):
        if isinstance(mark, NamesClasses) and isinstance(found, list | dict):
            yield path, [name for name in found if isinstance(name, str)], mark
    items = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for part, value in items:
        yield from class_names(below(annotation, found, part), value, (*path, part))
