"""One tree from many: fragments below the file that includes them, overrides on top."""

from __future__ import annotations

import logging
from typing import Any

from medseg.config.marks import named_sections
from medseg.config.problems import dotted
from medseg.config.schema import PipelineConfig
from medseg.config.tree import KeyPath, Node

NAMED_SECTIONS = named_sections(PipelineConfig)
"""Sections that are a name and that name's own options, so that a new name takes none of the old options over."""

_log = logging.getLogger(__name__)


def merge(lower: Node, upper: Node, path: KeyPath = ()) -> Node:
    """Lay ``upper`` over ``lower``.

    Mappings merge key by key; everything else, lists too, is replaced. Keys that are positions (``loss.0.weight=2`` as
    an override) reach into a list. A section of ``NAMED_SECTIONS`` whose name changes is replaced as a whole, and the
    options that are dropped are logged.

    Args:
        lower: gives way.
        upper: wins.
        path: where both stand.
    """
    if isinstance(lower.value, list) and _are_positions(upper.value, len(lower.value)):
        items = list(lower.value)
        for position, child in upper.value.items():
            items[int(position)] = merge(items[int(position)], child, (*path, position))
        return Node(items, lower.origin)
    if not isinstance(lower.value, dict) or not isinstance(upper.value, dict):
        return upper
    if path in NAMED_SECTIONS and _name_changes(lower, upper):
        _log_dropped(lower, upper, path)
        return upper
    values = dict(lower.value)
    for key, child in upper.value.items():
        values[key] = merge(values[key], child, (*path, key)) if key in values else child
    # A section stays where a file wrote it: an override of one key is not the place where another is missing.
    return Node(values, lower.origin if upper.origin.override else upper.origin)


def _are_positions(value: Any, length: int) -> bool:
    return isinstance(value, dict) and bool(value) and all(k.isdecimal() and int(k) < length for k in value)


def _name_changes(lower: Node, upper: Node) -> bool:
    names = lower.value.get("name"), upper.value.get("name")
    return None not in names and names[0].value != names[1].value


def _log_dropped(lower: Node, upper: Node, path: KeyPath) -> None:
    dropped = sorted(set(lower.value) - {"name"})
    if dropped:
        name = upper.value["name"]
        old, where = lower.value["name"].value, lower.origin
        _log.info(
            "%s: %s is now %r; dropped the options of %r (%s): %s",
            name.origin, dotted(path), name.value, old, where, ", ".join(dropped),
        )  # fmt: skip
