"""From the ``labels:`` section of a pipeline to a ``LabelMap``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from medseg.types import IGNORE_INDEX, LabelMap

NOT_CLASSES = ("ignore", "background")
"""Keys of ``labels:`` that group file values without making a class of them."""

LabelEntries = Mapping[str, int | list[int] | Literal["rest"]]
"""A ``labels:`` section as it is written."""

# Class names end up in MLflow metric names, which allow no more than these.
_CLASS_NAME = re.compile(r"[\w][\w .-]*")


def parse_labels(entries: Mapping[str, Any]) -> LabelMap:
    """Turn a ``labels:`` section into a ``LabelMap``.

    Args:
        entries: class name -> value or list of values; the keys ``ignore`` (values that neither train nor score) and
            ``background`` (values, or the word ``rest`` for every value that nothing else names) are not classes.

    Raises:
        ValueError: no class, a value used twice, value 0 as a class, a name MLflow would refuse, too many classes.
            Where one entry is to blame, the message starts with its name and a colon.
    """
    groups: dict[str, tuple[int, ...]] = {}
    owners: dict[int, str] = {}
    rest = entries.get("background") == "rest"
    for name, values in entries.items():
        if name == "background" and rest:
            continue
        groups[name] = _values(name, values)
        for number in groups[name]:
            if number in owners:
                raise ValueError(f"{name}: value {number} already belongs to {owners[number]!r}")
            owners[number] = name
    classes = {name: values for name, values in groups.items() if name not in NOT_CLASSES}
    if not classes:
        raise ValueError("expected at least one class such as 'liver: 1'")
    if len(classes) >= IGNORE_INDEX:
        raise ValueError(f"expected at most {IGNORE_INDEX - 1} classes, found {len(classes)}")
    return LabelMap(classes, groups.get("ignore", ()), groups.get("background", ()), rest)


def _values(name: str, values: Any) -> tuple[int, ...]:
    numbers = values if isinstance(values, list) else [values]
    if any(isinstance(number, bool) or not isinstance(number, int) for number in numbers):
        raise ValueError(f"{name}: expected a whole number or a list of whole numbers, found {values!r}")
    if name in NOT_CLASSES:
        return tuple(numbers)
    if not _CLASS_NAME.fullmatch(name):
        raise ValueError(f"{name}: expected a class name of letters, digits, spaces, '_', '-' and '.'")
    if 0 in numbers:
        raise ValueError(f"{name}: value 0 is background and cannot be a class")
    if not numbers:
        raise ValueError(f"{name}: expected at least one value, found an empty list")
    return tuple(numbers)
