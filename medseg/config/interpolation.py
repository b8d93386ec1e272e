"""``${section.key}`` and ``${path_env:MEDSEG_NAME,default}`` inside values.

A reference stands for one value, or for a list of plain values, found anywhere in the merged pipeline; ``path_env``
for an environment variable. Both are deliberately weak, so that no secret can reach a configuration, which is logged
and kept with every run: only variables whose names begin with ``MEDSEG_`` are read, and only into keys
that the schema marks as machine paths. There is no other function, no nesting and no arithmetic. OmegaConf is not used
for this: its resolvers are global, take names that are computed, and give no lines and no bound on what a text becomes.
"""

from __future__ import annotations

import os
import re
from typing import Any

from medseg.config.marks import marked
from medseg.config.problems import Origin, Problem, dotted
from medseg.config.schema import PipelineConfig
from medseg.config.tree import MAX_VALUES, KeyPath, Node
from medseg.settings import MACHINE_PATH
from medseg.words import did_you_mean, listed, shown

MAX_TEXT = 10_000
"""Characters of one value after its references are replaced."""

_REFERENCE = re.compile(
    r"\$\{\s*(?:path_env:(?P<variable>[^,{}$]*)(?:,(?P<default>[^{}$]*))?|(?P<key>[A-Za-z_][\w-]*(?:\.[\w-]+)*))\s*\}"
)


class _UnresolvedError(Exception):
    pass


def interpolate(root: Node) -> tuple[Node, list[Problem]]:
    """Replace every reference.

    Args:
        root: the merged pipeline.

    Returns:
        The same tree with the references replaced (null where that failed), and every mistake.
    """
    work = _Interpolation(root)
    return work.walk(root, ()), work.problems


class _Interpolation:
    def __init__(self, root: Node) -> None:
        self.root = root
        self.problems: list[Problem] = []
        self._done: dict[KeyPath, Node] = {}  # each value once: chains of doublings would take for ever
        self._failed: set[KeyPath] = set()
        self._active: list[KeyPath] = []
        self._copied = 0

    def walk(self, node: Node, path: KeyPath) -> Node:
        if isinstance(node.value, dict):
            return Node({k: self.walk(child, (*path, k)) for k, child in node.value.items()}, node.origin)
        if isinstance(node.value, list):
            return Node([self.walk(child, (*path, i)) for i, child in enumerate(node.value)], node.origin)
        if not isinstance(node.value, str) or "${" not in node.value:
            return node
        if path not in self._done:
            self._done[path] = Node(self._replaced(node.value, path, node.origin), node.origin)
        return self._done[path]

    def _replaced(self, text: str, path: KeyPath, origin: Origin) -> Any:
        self._active.append(path)
        try:
            whole = _REFERENCE.fullmatch(text)
            return self._value(whole, path) if whole else self._joined(text, path)
        except _UnresolvedError as error:
            self.problems.append(Problem(dotted(path), str(error), origin))
            self._failed.add(path)
            return None
        finally:
            self._active.pop()

    def _joined(self, text: str, path: KeyPath) -> str:
        parts, position = [], 0
        while (start := text.find("${", position)) >= 0:
            match = _REFERENCE.match(text, start)
            if match is None:
                forms = "${section.key} or ${path_env:MEDSEG_NAME,default}"
                raise _UnresolvedError(f"expected {forms}, found {shown(text[start:])}")
            value = self._value(match, path)
            if value is None or isinstance(value, list):
                found = "null" if value is None else "a list"
                raise _UnresolvedError(f"{match[0]} inside a text must be a single value, found {found}")
            parts += [text[position:start], value if isinstance(value, str) else shown(value)]
            position = match.end()
            if sum(map(len, parts)) > MAX_TEXT:
                raise _UnresolvedError(f"expected at most {MAX_TEXT} characters once references are replaced")
        return "".join([*parts, text[position:]])

    def _value(self, match: re.Match[str], path: KeyPath) -> Any:
        if match["key"] is None:
            return _path_variable(match["variable"], match["default"], path)
        return self._referenced(match["key"], path)

    def _referenced(self, key: str, path: KeyPath) -> Any:
        nodes = list(self.root.along(key.split(".")))
        target: KeyPath = tuple(
            int(p) if isinstance(n.value, list) else p for p, n in zip(key.split("."), nodes, strict=False)
        )
        if len(nodes) != len(target) + 1:
            siblings = nodes[-1].value if isinstance(nodes[-1].value, dict) else {}
            near = did_you_mean(key.split(".")[len(nodes) - 1], siblings)
            raise _UnresolvedError(f"${{{key}}} names no value of this pipeline{near}")
        if any(active[: len(target)] == target for active in self._active):
            raise _UnresolvedError(f"${{{key}}} refers to itself")
        found = self.walk(nodes[-1], target)
        if target in self._failed:
            raise _UnresolvedError(f"${{{key}}} has no value because of the mistake there")
        items = found.value if isinstance(found.value, list) else [found]
        if isinstance(found.value, dict) or any(isinstance(item.value, dict | list) for item in items):
            raise _UnresolvedError(
                f"${{{key}}} must be a single value or a list of them; use include for whole sections"
            )
        self._copied += len(items)
        if self._copied > MAX_VALUES:
            raise _UnresolvedError(f"more than {MAX_VALUES} values once references are replaced")
        return found.value


def _path_variable(name: str, default: str | None, path: KeyPath) -> str:
    name = name.strip()
    machine_paths = marked(PipelineConfig, MACHINE_PATH)
    if dotted(path) not in machine_paths:
        raise _UnresolvedError(f"path_env is for machine paths: {listed(machine_paths, 'and')}")
    if not re.fullmatch(r"MEDSEG_\w+", name):
        raise _UnresolvedError(f"path_env reads only variables that begin with MEDSEG_, found {name!r}")
    value = os.environ.get(name) or default
    if not value:
        raise _UnresolvedError(
            f"the environment variable {name} is not set; set it or write ${{path_env:{name},default}}"
        )
    return value.strip()
