"""From a pipeline YAML to a ``PipelineConfig``, with every mistake reported at once; and back to YAML.

    file + fragments (sources) -> overrides (merge) -> references (interpolation) -> schema -> PipelineConfig

The order of precedence, highest first: overrides (later ones over earlier ones), the file, its fragments (later ones
over earlier ones), the defaults of the schema.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from medseg.config.agreement import disagreements, idle_settings
from medseg.config.explain import explain
from medseg.config.interpolation import interpolate
from medseg.config.merge import merge
from medseg.config.problems import Problem as Problem
from medseg.config.schema import PipelineConfig
from medseg.config.sources import Reader, display, read_overrides
from medseg.config.tree import Node, teach_scalars
from medseg.errors import ConfigError

Check = Callable[[dict[str, Any]], Sequence[Problem]]
"""Looks at the merged pipeline as plain dicts, in which any section may be missing or wrong, and returns mistakes."""

_log = logging.getLogger(__name__)


def load_pipeline(path: Path, overrides: Sequence[str] = (), checks: Sequence[Check] = ()) -> PipelineConfig:
    """Read a pipeline.

    Args:
        path: the pipeline YAML. Its ``include`` (a file or a list of files, relative to the file that names them) lies
            below it: mappings merge key by key, everything else is replaced.
        overrides: ``section.key=value`` texts, the value being YAML; they win over the files.
        checks: further checks, whose findings stand in the same report. Each must cope with sections that are missing
            or wrong; what it finds at a key that is already reported is left out.

    Returns:
        The typed, frozen configuration. Relative paths in it stay as written.

    Raises:
        ConfigError: one line a mistake, each with file and line (or the override), key, what was expected and found,
            and the nearest known name.
    """
    reader = Reader()
    tree = reader.read(Path(path))
    over, problems = read_overrides(overrides)
    tree, unresolved = interpolate(merge(tree, over))
    plain = tree.plain
    if plain.get("augmentation", {}) is None:
        plain["augmentation"] = {}  # the one section that null empties: everything off
    config, refused = _validated(tree, plain)
    if reader.incomplete:  # what seems to be missing may stand in the file that could not be read
        refused = [problem for problem in refused if not problem.message.startswith("missing")]
    checked = [*disagreements(plain, PipelineConfig), *(problem for check in checks for problem in check(plain))]
    report = _report([[*reader.problems, *problems, *unresolved], refused, checked], tree)
    if report or config is None:
        main = display(Path(path))
        raise ConfigError("\n".join(map(str, sorted(report, key=lambda problem: _rank(problem, main)))))
    for idle in _report([idle_settings(config.model_dump(mode="json"))], tree):
        _log.warning("%s", idle)
    return config


def _validated(tree: Node, plain: Any) -> tuple[PipelineConfig | None, list[Problem]]:
    try:
        # Through JSON, since only there can pydantic be strict about numbers and still take a list for a tuple.
        return PipelineConfig.model_validate_json(json.dumps(plain), strict=True), []
    except ValidationError as error:
        return None, explain(error, tree)


def _report(stages: Sequence[Sequence[Problem]], tree: Node) -> list[Problem]:
    """All problems with their origins; a later stage says nothing about keys that an earlier one reported."""
    report: list[Problem] = []
    for stage in stages:
        known = {problem.key for problem in report} - {"", "include"}
        for problem in stage:
            where = problem.where or list(tree.along(problem.key.split(".")))[-1].origin
            if problem.key not in known:
                report.append(Problem(problem.key, problem.message, where))
    # pydantic's finding about the pipeline as a whole repeats what config.agreement says key by key.
    return [problem for problem in report if problem.key or problem.where != tree.origin] or report


def _rank(problem: Problem, main: str) -> tuple[bool, bool, str, int]:
    """The file itself first, then its fragments, then overrides; by line within a file."""
    where = problem.where
    if where is None:
        return False, False, "", 0
    return where.override, where.source != main, where.source, where.line or 0


class _Dumper(yaml.SafeDumper):
    """Quotes what either YAML 1.1 or 1.2 would take for something else than text."""


teach_scalars(_Dumper)


def dump(config: PipelineConfig) -> str:
    """The resolved configuration as YAML, in the order of the schema; loading it gives an equal configuration.

    Args:
        config: paths become text, tuples become lists, every default is written out.
    """
    plain = config.model_dump(mode="json")
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
