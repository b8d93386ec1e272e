"""One mistake in a configuration: where it stands, which key, what is wrong, and what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any


@dataclass(frozen=True)
class Origin:
    """Where a value was written.

    Attributes:
        source: the file as the user would name it, or ``override 3 (training.epochs=ten)``.
        line: 1-based line in the file; None for a whole file or an override.
        column: 1-based column, for text that is no YAML.
        override: whether this is an override.
    """

    source: str
    line: int | None = None
    column: int | None = None
    override: bool = False

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.source, self.line, self.column) if part is not None)


@dataclass(frozen=True)
class Problem:
    """One mistake.

    Attributes:
        key: dotted key such as ``training.loss.0.weight``; "" for a mistake of the whole file.
        message: what was expected and found, in plain words, without the key.
        where: file and line; None lets ``load_pipeline`` look the key up.
    """

    key: str
    message: str
    where: Origin | None = None

    def __str__(self) -> str:
        return ": ".join(str(part) for part in (self.where, self.key, self.message) if part)


def dotted(path: Iterable[str | int]) -> str:
    """``("training", "loss", 0)`` -> ``training.loss.0``."""
    return ".".join(str(part) for part in path)


def listed(names: Sequence[str], last: str = "or") -> str:
    """``["a", "b", "c"]`` -> ``a, b or c``; one name alone stays as it is, none gives ""."""
    return f" {last} ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """``; did you mean 'epochs'?`` for the nearest known name, or "" where none is near."""
    match = get_close_matches(str(word).lower(), list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def shown(value: Any) -> str:
    """A found value as the YAML had it, cut to one short line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return f"a mapping with {listed(list(value), 'and')}"[:80] if value else "an empty mapping"
    text = f"[{', '.join(map(shown, value[:20]))}]" if isinstance(value, list) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
