"""One mistake in a configuration: where it stands, which key, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


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
