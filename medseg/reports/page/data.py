"""An evaluation as plain JSON for the page: every number that it shows, and nothing of its looks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from medseg.evaluation.results import Evaluation
from medseg.evaluation.scores import Score, StudyScores
from medseg.evaluation.summary import overall, summarise
from medseg.metrics.overlap import mean_defined
from medseg.reports.page.intensity import KNOTS
from medseg.reports.style import CONFUSED, EXTRA, MISSED, colour


def page_data(evaluation: Evaluation, class_names: Sequence[str], window_hu: tuple[float, float]) -> dict[str, Any]:
    """Scores, summaries and failures; NaN and infinity are None.

    Returns:
        ``columns`` and ``rows`` (a row per study and label, in the columns' order), ``labels`` (a summary each),
        ``overall``, ``lesions`` (a dict each), ``notes`` (by study), ``failures``, ``classes``, ``colours`` (as many),
        ``tints``, ``window`` and ``knots`` (how codes become HU).
    """
    scores = evaluation.scores
    columns = [field.name for field in fields(Score)]
    data = {
        "columns": columns,
        "rows": [[getattr(row, column) for column in columns] for study in scores for row in study.rows],
        "labels": [asdict(summary) for summary in summarise(scores)],
        "overall": asdict(overall(scores)),
        "lesions": [asdict(lesion) for study in scores for lesion in study.lesions],
        "notes": {study.study_id: study.note for study in scores if study.note},
        "failures": [[failure.study_id, failure.reason] for failure in evaluation.failures],
        "classes": list(class_names),
        "colours": [colour(index) for index in range(1, len(class_names) + 1)],
        "tints": {"missed": MISSED, "extra": EXTRA, "confused": CONFUSED},
        "window": list(window_hu),
        "knots": [list(knot) for knot in KNOTS],
    }
    return dict(plain(data))


def mean_dice(study: StudyScores) -> float:
    """Mean over the labels whose Dice is defined; NaN without any."""
    return mean_defined(row.dice for row in study.rows)


def plain(value: Any) -> Any:
    """The same with six digits, None for numbers that JSON lacks, and lists for tuples."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None  # nobody reads more, and files stay small
    return value
