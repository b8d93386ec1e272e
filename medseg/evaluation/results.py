"""What an evaluation leaves behind: ``evaluation.csv`` and ``evaluation.json``, written whole or not at all."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import StudyError
from medseg.evaluation.scores import Score, StudyScores
from medseg.evaluation.summary import overall, summarise
from medseg.files import atomic_path

_FORMAT = 1
"""Version of the JSON's layout."""

_STUDY_COLUMNS = ("accuracy", "miou", "miou_foreground")
"""Scores of a whole study; they end each of its rows in the CSV."""


@dataclass(frozen=True)
class Failure:
    """A study without scores, and why."""

    study_id: str
    reason: str


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The studies that were scored, and those that could not be."""

    scores: tuple[StudyScores, ...]
    failures: tuple[Failure, ...] = ()

    def write_csv(self, path: Path) -> None:
        """Write one row a study and label; NaN is an empty cell. Failures are in the JSON only."""
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*(field.name for field in fields(Score)), *_STUDY_COLUMNS])
            for study in self.scores:
                own = [getattr(study, column) for column in _STUDY_COLUMNS]
                for row in study.rows:
                    writer.writerow(_none_for_nan([*asdict(row).values(), *own]))

    def write_json(self, path: Path) -> None:
        """Write studies, failures and summaries; NaN is null. ``read_json`` reads it back."""
        document = {
            "format": _FORMAT,
            "studies": [{**asdict(study), "confusion": study.confusion.tolist()} for study in self.scores],
            "failures": [asdict(failure) for failure in self.failures],
            "labels": [asdict(summary) for summary in summarise(self.scores)],
            "overall": asdict(overall(self.scores)),
        }
        text = json.dumps(_none_for_nan(document), indent=1, allow_nan=False)
        with atomic_path(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Evaluation:
    """Read what ``Evaluation.write_json`` wrote; null becomes NaN. Summaries are not read: they follow from the rest.

    Raises:
        StudyError: not such a file.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != _FORMAT:
            raise ValueError(f"format {document['format']}")
        scores = tuple(_study(study) for study in document["studies"])
        failures = tuple(Failure(**failure) for failure in document["failures"])
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path}: expected an evaluation.json of format {_FORMAT}, found {error!r}") from error
    return Evaluation(scores, failures)


def _study(entry: Mapping[str, Any]) -> StudyScores:
    rows = tuple(Score(**_nan_for_none(row)) for row in entry["rows"])
    confusion = np.array(entry["confusion"], dtype=np.int64)
    return StudyScores(**{**_nan_for_none(entry), "rows": rows, "confusion": confusion})


def _none_for_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _none_for_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_none_for_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _nan_for_none(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in entry.items()}
