"""A network's options as a person reads them: what each takes, its default, and what it is for."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from medseg.networks import NETWORKS, network_options

_KINDS: dict[Any, str] = {bool: "true | false", int: "whole number", float: "number", str: "text", NoneType: "null"}

_BOUNDS = {"ge": ">= {:g}", "gt": "> {:g}", "le": "<= {:g}", "lt": "< {:g}", "multiple_of": "multiple of {:g}"}


@dataclass(frozen=True)
class OptionRow:
    """One option of a network.

    Attributes:
        name: as in a pipeline's ``network:``.
        takes: its choices, or its kind and range.
        default: of this network.
        meaning: from its documentation.
    """

    name: str
    takes: str
    default: Any
    meaning: str


def option_rows(name: str) -> list[OptionRow]:
    """A row for each option of a network, in the order of its constructor.

    Raises:
        ConfigError: unknown name.
    """
    options = network_options(name)
    meanings = _meanings(NETWORKS[name].load())
    return [OptionRow(key, takes(p.annotation), p.default, meanings.get(key, "")) for key, p in options.items()]


def takes(annotation: Any) -> str:
    """Say what an option takes: ``8 | 16 | 32``, ``whole number >= 1``, ``list of (1 | 2)``."""
    kind, parts = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        return f"{takes(parts[0])} {', '.join(_bounds(parts[1:]))}".rstrip()
    if kind is Literal:
        return " | ".join(map(str, parts))
    if kind in (Union, UnionType):
        return " | ".join(dict.fromkeys(map(takes, parts)))
    if kind is tuple:
        of = takes(parts[0])
        return f"list of ({of})" if " | " in of else f"list of {of}"
    return _KINDS[annotation]


def _bounds(constraints: tuple[Any, ...]) -> list[str]:
    limits = [limit for c in constraints for limit in (c.metadata if isinstance(c, FieldInfo) else [c])]
    return [text.format(getattr(m, key)) for m in limits for key, text in _BOUNDS.items() if hasattr(m, key)]


def _meanings(builder: Callable[..., Any]) -> dict[str, str]:
    """Option -> its paragraph in the documentation of the builder, or of the group of options that holds it."""
    defaults = [p.default for p in inspect.signature(builder).parameters.values()]
    groups = [type(default) for default in defaults if dataclasses.is_dataclass(default)]
    meanings: dict[str, str] = {}
    for documented in (*groups, builder):
        text = re.split(r"^(?:Args|Attributes):\n", inspect.getdoc(documented) or "", maxsplit=1, flags=re.M)[-1]
        for option, meaning in re.findall(r"^ {4}(\w+): (.+(?:\n {5,}.+)*)", text, re.M):
            meanings[option] = " ".join(meaning.split())
    return meanings
