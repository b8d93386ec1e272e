"""Reading: a YAML file with the fragments it includes, and overrides from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.config.merge import merge
from medseg.config.problems import Origin, Problem
from medseg.config.tree import MAX_BYTES, Node, parse_yaml
from medseg.words import did_you_mean, shown


class Reader:
    """Reads files once each, follows their includes and collects every mistake.

    Attributes:
        problems: mistakes so far.
        incomplete: a file could not be read, so that what is missing now may stand in it.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.incomplete = False
        self._read: dict[Path, Node] = {}

    def read(self, path: Path) -> Node:
        """The file with its fragments below it; an empty mapping where it cannot be read."""
        return self._file(path, Origin(display(path)), [])

    def _file(self, path: Path, asked_by: Origin, chain: list[Path]) -> Node:
        real = path.resolve()
        if real in chain:
            names = " -> ".join(display(step) for step in (*chain[chain.index(real) :], real))
            return self._fail(Problem("include", f"the files include each other: {names}", asked_by))
        if real not in self._read:
            self._read[real] = self._with_fragments(
                self._own(path, asked_by, included=bool(chain)), path, [*chain, real]
            )
        return self._read[real]

    def _own(self, path: Path, asked_by: Origin, *, included: bool) -> Node:
        """The file without its fragments."""
        origin = Origin(display(path))
        text = _text(path)
        if isinstance(text, Problem):
            key, name = ("include", f"{display(path)}: ") if included else ("", "")
            return self._fail(Problem(key, name + text.message, asked_by))
        root, problems = parse_yaml(text, origin)
        self.problems += problems
        if root is None:
            self.incomplete = True
        elif not isinstance(root.value, dict):
            return self._fail(Problem("", f"expected 'key: value' lines, found {shown(root.plain)}", origin))
        return root or Node({}, origin)

    def _with_fragments(self, own: Node, path: Path, chain: list[Path]) -> Node:
        values = dict(own.value)
        include = values.pop("include", Node([], own.origin))
        merged = Node({}, own.origin)
        for entry in include.value if isinstance(include.value, list) else [include]:
            if isinstance(entry.value, str) and entry.value and entry.value.isprintable():
                merged = merge(merged, self._file(path.parent / entry.value, entry.origin, chain))
            else:
                expected = "expected a file or a list of files, relative to this one"
                self._fail(Problem("include", f"{expected}, found {shown(entry.plain)}", entry.origin))
        return merge(merged, Node(values, own.origin))

    def _fail(self, problem: Problem) -> Node:
        self.problems.append(problem)
        self.incomplete = True
        return Node({}, problem.where or Origin(""))


def display(path: Path) -> str:
    """The path as a user would type it: relative to the working directory where it lies below."""
    real, here = path.resolve(), Path.cwd()
    return str(real.relative_to(here)) if real.is_relative_to(here) else str(real)


def _text(path: Path) -> str | Problem:
    try:
        if path.is_dir():
            return Problem("", "expected a YAML file, found a folder")
        if not path.exists():
            siblings = [p.stem for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
            return Problem("", f"no such file{did_you_mean(path.stem, siblings)}")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            return Problem("", f"expected at most {MAX_BYTES} bytes of YAML")
        return data.decode("utf-8-sig")
    except OSError as error:
        return Problem("", f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        return Problem("", f"expected UTF-8 text, found the byte {error.object[error.start]:#04x}")


def read_overrides(overrides: Sequence[str]) -> tuple[Node, list[Problem]]:
    """Turn ``section.key=value`` texts into one tree; a later text wins over an earlier one.

    Args:
        overrides: the value is YAML (``1e-3``, ``null``, ``[1, 2]``, ``{name: dice}``).

    Returns:
        The tree and every mistake.
    """
    tree = Node({}, Origin("overrides", override=True))
    problems: list[Problem] = []
    for number, text in enumerate(overrides, start=1):
        origin = Origin(f"override {number} ({text if len(text) <= 80 else text[:77] + '...'})", override=True)
        node = _override(text, origin, problems)
        if node is not None:
            tree = merge(tree, node)
    return tree, problems


def _override(text: str, origin: Origin, problems: list[Problem]) -> Node | None:
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        problems.append(Problem("", "expected section.key=value such as training.epochs=50", origin))
        return None
    if parts[0] == "include":
        problems.append(Problem("include", "belongs into a file; name single keys here", origin))
        return None
    if not value.strip():
        problems.append(Problem(".".join(parts), "nothing after '='; write null to clear a value", origin))
        return None
    node, found = parse_yaml(value, origin)
    problems += [Problem(".".join((*parts, *filter(None, [p.key]))), p.message, origin) for p in found]
    for part in reversed(parts):
        node = node and Node({part: node}, origin)
    return node
