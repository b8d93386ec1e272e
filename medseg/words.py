"""Words of messages: lists, found values, the nearest known name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any


def listed(names: Sequence[str], last: str = "or") -> str:
    """``["a", "b", "c"]`` -> ``a, b or c``; one name alone stays as it is, none gives ""."""
    return f" {last} ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """``; did you mean 'epochs'?`` for the nearest known name, or "" where none is near."""
    match = nearest(str(word), known)
    return "" if match is None else f"; did you mean {match!r}?"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name most like a word, in whatever case it was written; None where none is near."""
    return next(iter(get_close_matches(word.lower(), list(known), n=1)), None)


def shown(value: Any) -> str:
    """A found value as the YAML had it, cut to one short line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return f"a mapping with {listed(list(value), 'and')}"[:80] if value else "an empty mapping"
    text = f"[{', '.join(map(shown, value[:20]))}]" if isinstance(value, list) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
