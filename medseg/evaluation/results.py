"""What an evaluation leaves behind: CSV of the labels and of the lesions, and JSON; written whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import StudyError
from medseg.evaluation.options import ScoringOptions
from medseg.evaluation.scores import LesionRow, Score, StudyScores
from medseg.evaluation.summary import overall, summarise
from medseg.files import atomic_path, without_nan, write_csv
from medseg.words import listed

_FORMAT = 2
"""Version of the JSON's layout. 1 had no surfaces, lesions and options, and each label's two spreads by name."""

_READABLE = (1, 2)

_STUDY_COLUMNS = ("accuracy", "miou", "miou_foreground", "fw_iou", "note")
"""What there is to say of a whole study; they end each of its rows in the CSV."""

_COUNTS = frozenset(field.name for field in fields(Score) if "int | None" in str(field.type))
"""Cells that are None, and not NaN, where they were not asked for."""


@dataclass(frozen=True)
class Failure:
    """A study without scores, and why."""

    study_id: str
    reason: str


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The studies that were scored, and those that could not be.

    Attributes:
        scores: in the order in which they were asked for.
        failures: studies without scores.
        options: how the studies were scored; None if that is not known (JSON of format 1).
        without_reference: ids of segmentations that no reference was found for.
    """

    scores: tuple[StudyScores, ...]
    failures: tuple[Failure, ...] = ()
    options: ScoringOptions | None = None
    without_reference: tuple[str, ...] = ()

    def write(self, path: Path) -> list[Path]:
        """Write ``path``, a CSV, the JSON beside it, and ``<name>_lesions.csv`` where lesions were scored.

        Returns:
            The files, in this order.
        """
        written = [path, path.with_suffix(".json")]
        self.write_csv(path)
        self.write_json(written[1])
        if self.options is not None and self.options.lesions:
            written.append(path.with_name(f"{path.stem}_lesions.csv"))
            self.write_lesions_csv(written[-1])
        return written

    def write_csv(self, path: Path) -> None:
        """One row per study and label; NaN and what was not asked for are empty cells, failures are in the JSON."""
        rows = (
            [*asdict(row).values(), *(getattr(study, column) for column in _STUDY_COLUMNS)]
            for study in self.scores
            for row in study.rows
        )
        write_csv(path, [*(field.name for field in fields(Score)), *_STUDY_COLUMNS], rows)

    def write_lesions_csv(self, path: Path) -> None:
        """Write one row per lesion of either side; no rows if no label was scored by its lesions.

        The centre takes three columns: centre_r_mm, centre_a_mm, centre_s_mm.
        """
        names = [field.name for field in fields(LesionRow)]
        place = names.index("centre_mm")
        header = [*names[:place], "centre_r_mm", "centre_a_mm", "centre_s_mm", *names[place + 1 :]]
        rows = (
            [*cells[:place], *cells[place], *cells[place + 1 :]]
            for study in self.scores
            for cells in (list(asdict(lesion).values()) for lesion in study.lesions)
        )
        write_csv(path, header, rows)

    def write_json(self, path: Path) -> None:
        """Write studies, failures, options and summaries; NaN is null. ``read_json`` reads it back."""
        document = {
            "format": _FORMAT,
            "options": None if self.options is None else asdict(self.options),
            "studies": [{**asdict(study), "confusion": study.confusion.tolist()} for study in self.scores],
            "failures": [asdict(failure) for failure in self.failures],
            "without_reference": self.without_reference,
            "labels": [asdict(summary) for summary in summarise(self.scores)],
            "overall": asdict(overall(self.scores)),
        }
        text = json.dumps(without_nan(document), indent=1, allow_nan=False)
        with atomic_path(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Evaluation:
    """Read what ``Evaluation.write_json`` wrote, also in format 1; null becomes NaN.

    Summaries are not read: they follow from the rest.

    Raises:
        StudyError: not such a file.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] not in _READABLE:
            raise ValueError(f"format {document['format']}")
        scores = tuple(_study(study) for study in document["studies"])
        failures = tuple(Failure(**failure) for failure in document["failures"])
        options = document.get("options")
        options = None if options is None else ScoringOptions(**options)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(
            f"{path}: expected an evaluation.json of format {listed([str(f) for f in _READABLE])}, found {error!r}"
        ) from error
    return Evaluation(scores, failures, options, tuple(document.get("without_reference", ())))


def _study(entry: Mapping[str, Any]) -> StudyScores:
    parts = {
        "rows": tuple(Score(**_nan_for_none(row)) for row in entry["rows"]),
        "confusion": np.array(entry["confusion"], dtype=np.int64),
        "lesions": tuple(_lesion(lesion) for lesion in entry.get("lesions", ())),
    }
    return StudyScores(**{**_nan_for_none(entry), **parts})


def _lesion(entry: Mapping[str, Any]) -> LesionRow:
    return LesionRow(**{**entry, "centre_mm": tuple(entry["centre_mm"])})


def _nan_for_none(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None and key not in _COUNTS else value for key, value in entry.items()}
