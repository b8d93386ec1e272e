"""What is compared, from where it lies: an ``evaluation.json``, an ``evaluation.csv``, or a run's folder with one."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from medseg.errors import ConfigError, StudyError
from medseg.evaluation.results import Evaluation, read_json
from medseg.evaluation.scores import Score, StudyScores

_FILES = ("evaluation.json", "evaluation.csv")
"""Looked for in a folder, in this order: the JSON also knows which studies failed."""

_TEXT = ("study_id", "label", "empty")
_REQUIRED = ("study_id", "label")


def read_evaluations(arguments: Sequence[str]) -> dict[str, Evaluation]:
    """Read evaluations by name, in the order given.

    Each argument is a path or ``NAME=PATH``. Without a name, a file is named by its stem, ``evaluation.json`` and
    ``evaluation.csv`` by their folder, a folder by its own name; names that are the same are told apart by the folders
    above them.

    Raises:
        ConfigError: a path that does not exist or holds no evaluation, the same one twice, or a name twice.
        StudyError: a file that is no evaluation.
    """
    given = [_split(argument) for argument in arguments]
    paths = [_file(path) for _, path in given]
    for index, path in enumerate(paths):
        if path.resolve() in [earlier.resolve() for earlier in paths[:index]]:
            raise ConfigError(f"compare: expected different evaluations, found {path} twice")
    names = _names([name for name, _ in given], paths)
    return {name: read_evaluation(path) for name, path in zip(names, paths, strict=True)}


def read_evaluation(path: Path) -> Evaluation:
    """Read one evaluation: a JSON, a CSV, or the one in a folder.

    Raises:
        ConfigError: a path that does not exist, or a folder without an evaluation.
        StudyError: not such a file.
    """
    file = _file(path)
    return read_json(file) if file.suffix.lower() == ".json" else read_csv(file)


def read_csv(path: Path) -> Evaluation:
    """Read rows as ``Evaluation.write_csv`` writes them; an empty cell is NaN.

    Scores of another program can be read too: ``study_id``, ``label`` and one score are enough, other columns that
    medseg does not know are passed over. What such a file lacks is NaN, and 0 for counts of voxels. The confusion
    matrix and the failures are not in the file: the matrix is zero, and there is no failure.

    Raises:
        StudyError: not such a file; the message names the line.
    """
    rows: dict[str, dict[str, Score]] = {}
    own: dict[str, dict[str, float]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            _require_columns(path, reader.fieldnames or ())
            for line in reader:
                where = f"{path}, line {reader.line_num}"
                row = _row(line, where)
                if rows.setdefault(row.study_id, {}).setdefault(row.label, row) is not row:
                    raise StudyError(f"{where}: expected {row.study_id}, {row.label} once, found it again")
                own[row.study_id] = {c: _number(line.get(c), c, where) for c in _types(StudyScores, float)}
    except (csv.Error, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: expected a table of comma-separated values in UTF-8, found {error}") from error
    return Evaluation(tuple(_study(study_id, tuple(rows[study_id].values()), own[study_id]) for study_id in rows))


def _study(study_id: str, rows: tuple[Score, ...], own: Mapping[str, Any]) -> StudyScores:
    confusion = np.zeros((len(rows) + 1, len(rows) + 1), dtype=np.int64)
    return StudyScores(study_id=study_id, rows=rows, confusion=confusion, **own)


@lru_cache
def _types(row: type, wanted: type | None = None) -> Mapping[str, Any]:
    """Type of each field; of those alone that are of the type wanted."""
    hints = get_type_hints(row)
    return {field.name: hints[field.name] for field in fields(row) if wanted in (None, hints[field.name])}


def _require_columns(path: Path, columns: Sequence[str]) -> None:
    lacking = [name for name in _REQUIRED if name not in columns]
    scores = [field.name for field in fields(Score) if field.name not in _TEXT]
    if lacking or not set(columns) & set(scores):
        raise StudyError(
            f"{path}: expected the columns study_id, label and a score such as dice, "
            f"found {', '.join(columns) or 'an empty file'}"
        )


def _row(line: Mapping[str, Any], where: str) -> Score:
    if None in line or None in line.values():
        raise StudyError(f"{where}: expected as many cells as there are columns")
    for name in _REQUIRED:
        if not line[name]:
            raise StudyError(f"{where}: expected a {name}, found an empty cell")
    types = _types(Score)
    values: dict[str, Any] = {}
    for field in fields(Score):
        cell = line.get(field.name, "")
        if field.name in _TEXT:
            values[field.name] = cell
        elif cell == "" and (field.default is not MISSING or types[field.name] is int):
            values[field.name] = 0 if field.default is MISSING else field.default
        else:
            number = _number(cell, field.name, where)
            values[field.name] = number if types[field.name] is float or not number.is_integer() else int(number)
    return Score(**values)


def _number(cell: str | None, column: str, where: str) -> float:
    try:
        return float(cell) if cell else math.nan
    except ValueError as error:
        raise StudyError(f"{where}: expected a number for {column}, found {cell!r}") from error


def _split(argument: str) -> tuple[str, Path]:
    """Name ("" if none is given) and path."""
    name, equals, path = argument.partition("=")
    if not equals or Path(argument).exists():
        return "", Path(argument)
    if not name.strip() or not path:
        raise ConfigError(f"compare: expected NAME=PATH, found {argument!r}")
    return name.strip(), Path(path)


def _file(path: Path) -> Path:
    if path.is_dir():
        for name in _FILES:
            if (path / name).is_file():
                return path / name
        below = sorted({str(file.parent) for name in _FILES for file in path.glob(f"*/{name}")})
        hint = f"; there is one in {', '.join(below[:3])}{' and more' if len(below) > 3 else ''}" if below else ""
        raise ConfigError(f"{path}: expected {' or '.join(_FILES)} in the folder, found neither{hint}")
    if not path.is_file():
        raise ConfigError(f"{path}: expected an evaluation.json, an evaluation.csv or a run's folder, found nothing")
    if path.suffix.lower() not in (".json", ".csv"):
        raise ConfigError(f"{path}: expected a .json or .csv that medseg evaluate or run wrote, found {path.name}")
    return path


def _names(given: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Given names as they are, derived ones with as many folders in front as it takes to tell them apart."""
    parts = []
    for path in paths:
        *folders, last = path.resolve().with_suffix("").parts
        parts.append([*folders] if last == "evaluation" and len(folders) > 1 else [*folders, last])
    depths = [1] * len(paths)
    while True:
        names = [name or "/".join(p[-depth:]) for name, p, depth in zip(given, parts, depths, strict=True)]
        same = [index for index, name in enumerate(names) if names.count(name) > 1]
        longer = [index for index in same if not given[index] and depths[index] < len(parts[index])]
        if not same:
            return names
        if not longer:
            raise ConfigError(f"compare: expected a name each, found {names[same[0]]!r} twice; give others: NAME=PATH")
        for index in longer:
            depths[index] += 1
