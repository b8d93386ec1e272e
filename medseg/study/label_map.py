"""From the ``labels:`` section of a pipeline to a ``LabelMap``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from medseg.types import IGNORE_INDEX, LabelMap, LabelValues

NOT_CLASSES = ("ignore", "background")
"""Keys of ``labels:`` that group file values without making a class of them."""

LabelEntries = Mapping[str, int | str | list[int | str] | Literal["rest"]]
"""A ``labels:`` section as it is written."""

# Class names end up in MLflow metric names, which allow no more than these.
_CLASS_NAME = re.compile(r"[\w][\w .-]*")


def parse_labels(entries: Mapping[str, Any]) -> LabelMap:
    """Turn a ``labels:`` section into a ``LabelMap``.

    Args:
        entries: class name -> value or list of values: whole numbers, or the labels of segments in a DICOM-SEG (upper
            and lower case are one); the keys ``ignore`` (values that neither train nor score) and ``background``
            (values, or the word ``rest`` for every value that nothing else names) are not classes.

    Raises:
        ValueError: no class, a value used twice, value 0 as a class, a name MLflow would refuse, too many classes.
            Where one entry is to blame, the message starts with its name and a colon.
    """
    groups: dict[str, LabelValues] = {}
    owners: dict[int | str, str] = {}
    rest = entries.get("background") == "rest"
    for name, values in entries.items():
        if name == "background" and rest:
            continue
        groups[name] = _values(name, values)
        for value in groups[name]:
            key = value.casefold() if isinstance(value, str) else value
            if key in owners:
                raise ValueError(f"{name}: value {value} already belongs to {owners[key]!r}")
            owners[key] = name
    classes = {name: values for name, values in groups.items() if name not in NOT_CLASSES}
    if not classes:
        raise ValueError("expected at least one class such as 'liver: 1'")
    if len(classes) >= IGNORE_INDEX:
        raise ValueError(f"expected at most {IGNORE_INDEX - 1} classes, found {len(classes)}")
    return LabelMap(classes, groups.get("ignore", ()), groups.get("background", ()), rest)


def _values(name: str, values: Any) -> LabelValues:
    several = values if isinstance(values, list) else [values]
    if values == "rest" or not all(map(_is_value, several)):
        raise ValueError(
            f"{name}: expected a whole number or a list of whole numbers (of a DICOM-SEG also segments' names), "
            f"found {values!r}"
        )
    if name in NOT_CLASSES:
        return tuple(several)
    if not _CLASS_NAME.fullmatch(name):
        raise ValueError(f"{name}: expected a class name of letters, digits, spaces, '_', '-' and '.'")
    if 0 in several:
        raise ValueError(f"{name}: value 0 is background and cannot be a class")
    if not several:
        raise ValueError(f"{name}: expected at least one value, found an empty list")
    return tuple(several)


def _is_value(value: Any) -> bool:
    """Text that holds no letter is a number in quotes, and was hardly meant as a segment's name."""
    if isinstance(value, str):
        return any(map(str.isalpha, value))
    return isinstance(value, int) and not isinstance(value, bool)
