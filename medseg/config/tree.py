"""YAML text as a tree of values that remember their file and line.

YAML is data here: scalars, lists and mappings with names as keys. Scalars follow YAML 1.2 (``no`` is text, ``1e-3`` a
number, ``010`` ten). Every tag beyond those is refused, and so is a text that grows without bound when its aliases are
expanded. Nothing is ever constructed from the text but numbers, strings, true, false and null.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from medseg.config.problems import Origin, Problem, dotted

MAX_BYTES = 1_000_000
"""Size of the largest YAML file that is read; a pipeline has some 3 kB."""
MAX_VALUES = 20_000
"""Values in one file after its aliases are expanded."""
MAX_DEPTH = 40
"""Nesting of one file; the schema needs 5."""

NOWHERE = Origin("")
"""Of values that no file and no override holds."""

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the root to a value."""


@dataclass(frozen=True)
class Node:
    """A value and where it was written.

    Attributes:
        value: None, bool, int, float, str, ``dict[str, Node]`` or ``list[Node]``.
        origin: line of the key that holds the value, or of the list item.
    """

    value: Any
    origin: Origin

    @classmethod
    def of(cls, plain: Any, origin: Origin = NOWHERE) -> Node:
        """The tree of ordinary dicts, lists and scalars, which were all written at one place."""
        if isinstance(plain, dict):
            return cls({key: cls.of(value, origin) for key, value in plain.items()}, origin)
        return cls([cls.of(value, origin) for value in plain] if isinstance(plain, list) else plain, origin)

    @property
    def plain(self) -> Any:
        """The value as ordinary dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: child.plain for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain for child in self.value]
        return self.value

    def child(self, part: str | int) -> Node | None:
        """The value under a key or a list position (``0`` or ``"0"``); None where there is none."""
        if isinstance(self.value, dict):
            return self.value.get(part)
        if isinstance(self.value, list) and str(part).isdecimal() and int(part) < len(self.value):
            return self.value[int(part)]  # type: ignore[no-any-return]
        return None

    def along(self, path: Sequence[str | int]) -> Iterator[Node]:
        """This node and those below it on the path, as far as they exist."""
        node: Node | None = self
        for part in (*path, ""):
            if node is None:
                return
            yield node
            node = node.child(part)


# Scalars of YAML 1.2; PyYAML's own are those of 1.1, where `no` is false, 1e-3 text and 1:30 the number 90.
SCALARS = {
    "null": (re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")),
    "int": (re.compile(r"[-+]?[0-9]+"), list("-+0123456789")),
    "float": (
        re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
        list("-+.0123456789"),
    ),
}
"""YAML type -> pattern of the whole scalar, and the characters it may begin with."""

_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # PyYAML's own name and form


def teach_scalars(reader_or_writer: Any) -> None:
    """Make one of PyYAML's loaders or dumpers know the scalars of YAML 1.2."""
    for name, (pattern, first) in SCALARS.items():
        whole = re.compile(rf"(?:{pattern.pattern})\Z")
        reader_or_writer.add_implicit_resolver(_TAG + name, whole, first)


teach_scalars(_Loader)


def parse_yaml(text: str, origin: Origin) -> tuple[Node | None, list[Problem]]:
    """Read one YAML document.

    Args:
        text: the document.
        origin: its file; the line is filled in for each value, except in overrides.

    Returns:
        The tree (None if the text is no YAML at all, or empty) and every mistake found on the way.
    """
    try:
        root = _Loader(text).get_single_node()
    except yaml.YAMLError as error:
        return None, [_syntax_problem(error, origin)]
    except RecursionError:
        return None, [Problem("", "nested too deeply", origin)]
    if root is None:
        return None, [Problem("", "the file is empty", origin)]
    builder = _Builder(origin)
    try:
        return builder.build(root, (), origin), builder.problems
    except _TooLargeError as error:
        return None, [Problem("", str(error), origin)]


class _TooLargeError(Exception):
    pass


class _Builder:
    """Turns PyYAML's nodes into ours and collects the mistakes."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.problems: list[Problem] = []
        self._values = 0

    def build(self, node: yaml.Node, path: KeyPath, origin: Origin) -> Node:
        self._values += 1
        if self._values > MAX_VALUES or len(path) > MAX_DEPTH:
            raise _TooLargeError(f"more than {MAX_VALUES} values or {MAX_DEPTH} levels once aliases are expanded")
        tag = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and tag == "map":
            return Node(self._mapping(node, path), origin)
        if isinstance(node, yaml.SequenceNode) and tag == "seq":
            return Node([self.build(n, (*path, i), self._at(n)) for i, n in enumerate(node.value)], origin)
        if isinstance(node, yaml.ScalarNode) and tag in (*SCALARS, "str"):
            return Node(self._scalar(tag, node.value, path, origin), origin)
        self._add(path, f"the tag {node.tag.replace(_TAG, '!!')} is refused; YAML is plain data here", origin)
        return Node(None, origin)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Node]:
        children: dict[str, Node] = {}
        for key_node, value_node in node.value:
            where = self._at(key_node)
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TAG + "str":
                found = repr(key_node.value) if isinstance(key_node, yaml.ScalarNode) else f"a {key_node.id}"
                self._add(path, f"expected a name as key, found {found}; put it in quotes if it is a name", where)
            elif (key := key_node.value) in children:
                first = children[key].origin.line
                self._add((*path, key), "given twice" + (f", first on line {first}" if first else ""), where)
            else:
                children[key] = self.build(value_node, (*path, key), where)
        return children

    def _scalar(self, tag: str, text: str, path: KeyPath, origin: Origin) -> Any:
        if tag == "str":
            return text
        # An explicit tag (!!int ten) and a number too long for int() both end here.
        if not SCALARS[tag][0].fullmatch(text) or len(text) > 400:
            self._add(path, f"{text[:40]!r} is not a {tag}", origin)
            return None
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        return int(text) if tag == "int" else float(re.sub(r"\.(?=inf|nan)", "", text.lower()))

    def _at(self, node: yaml.Node) -> Origin:
        if self.origin.override:
            return self.origin
        return Origin(self.origin.source, node.start_mark.line + 1)

    def _add(self, path: KeyPath, message: str, where: Origin) -> None:
        self.problems.append(Problem(dotted(path), message, where))


# PyYAML's words -> ours. The first phrase that occurs in the error is taken.
_PLAIN_WORDS = {
    "'\\t' that cannot start": "a tab cannot indent YAML; use spaces",
    "mapping values are not allowed": "a ':' that does not belong here: indentation, or text that needs quotes",
    "could not find expected ':'": "expected 'key: value', found text without ':'",
    "expected <block end>": "the indentation does not match the lines above",
    "expected '<document start>'": "text that does not continue what stands above: indentation, or a stray bracket",
    "expected ',' or ']'": "a list that '[' opened is not closed",
    "expected ',' or '}'": "a mapping that '{' opened is not closed",
    "unexpected end of stream": "a quote that was opened is not closed",
    "but found another document": "one document a file, found a second after '---'",
    "found undefined alias": "an alias (*name) without its anchor (&name)",
    "cannot start any token": "text that begins with this character needs quotes",
}


def _syntax_problem(error: yaml.YAMLError, origin: Origin) -> Problem:
    text = str(error)
    words = next((words for phrase, words in _PLAIN_WORDS.items() if phrase in text), None)
    mark = getattr(error, "problem_mark", None)
    if words is None:
        words = getattr(error, "problem", None) or text.splitlines()[0]
    if mark is None or origin.override:
        return Problem("", f"not YAML: {words}", origin)
    return Problem("", f"not YAML: {words}", Origin(origin.source, mark.line + 1, mark.column + 1))
