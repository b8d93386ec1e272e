"""``report.html``: scores, plots and a viewer of an evaluation in one file that opens anywhere."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.evaluation.results import Evaluation
from medseg.files import atomic_path
from medseg.reports.page.data import mean_dice, page_data, plain
from medseg.reports.page.document import document
from medseg.reports.page.pack import pack
from medseg.reports.scene import make_scene
from medseg.types import Volume

logger = logging.getLogger(__name__)

MOST_EMBEDDED = 50
"""Studies whose pictures one file holds; with more, the worst ones are in it and each has a page of its own."""

WORST_EMBEDDED = 20
"""Of many: a file that still opens at once, with what is worth a look."""


@dataclass(frozen=True)
class ReportStudy:
    """A study whose pictures the page shows.

    Attributes:
        study_id: as in the evaluation.
        load: gives image (HU), reference (class indices, or None) and segmentation (class indices) on one grid; called
            once, and what it gives is let go before the next study is loaded.
    """

    study_id: str
    load: Callable[[], tuple[Volume, Volume | None, Volume]]


def write_report(
    path: Path,
    evaluation: Evaluation,
    studies: Sequence[ReportStudy],
    *,
    title: str,
    facts: Mapping[str, str],
    class_names: Sequence[str],
    intensity_range_hu: tuple[float, float],
) -> list[Path]:
    """Write an evaluation as a page: one HTML file that needs no server, no network and no other file.

    Studies come in the order of their mean Dice, the worst first; those without scores come last. A study that cannot
    be loaded stays in the tables, with the reason where its pictures would be. More than ``MOST_EMBEDDED`` studies
    would make a file too heavy to open: then each has a page in ``report_studies/``, and the worst ones are in the
    main page too.

    Args:
        path: the HTML file; it and its pages are each written whole or not at all.
        evaluation: scored studies and failures; may be empty.
        studies: those to show in pictures, scored or not; may be empty.
        title: the heading.
        facts: name -> text, shown below it: network, model, split.
        class_names: foreground names, class 1 first.
        intensity_range_hu: the window that the network was trained with; the viewer begins with it.

    Returns:
        The files written, the main page first.

    Raises:
        OSError: a file cannot be written.
    """
    path = Path(path)
    base = page_data(evaluation, class_names, intensity_range_hu) | {"title": title, "facts": list(facts.items())}
    dice = {study.study_id: mean_dice(study) for study in evaluation.scores}
    ranked = sorted(studies, key=lambda study: _worst_first(dice.get(study.study_id, math.nan)))
    many = len(ranked) > MOST_EMBEDDED
    entries: list[dict[str, Any]] = []
    embedded: list[tuple[str, Any]] = []
    pages: list[Path] = []
    for number, study in enumerate(ranked, start=1):
        entry, blocks = _packed(study, number, dice.get(study.study_id, math.nan))
        if many:
            pages.append(path.with_name(f"{path.stem}_studies") / f"{number}.html")
            _write(pages[-1], _alone(base, entry, number, len(ranked), path.name), [entry], blocks)
            entry = entry | {"page": f"{pages[-1].parent.name}/{number}.html"}
        if many and number > WORST_EMBEDDED:
            entry = entry | {"block": None}
        else:
            embedded += blocks
        entries.append(entry)
    _write(path, base, entries, embedded)
    return [path, *pages]


def _write(path: Path, data: Mapping[str, Any], studies: Sequence[Any], blocks: Sequence[tuple[str, Any]]) -> None:
    text = document(str(data["title"]), {**data, "studies": studies}, blocks)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")  # a file's name may hold half a character


def _worst_first(dice: float) -> tuple[bool, float]:
    return math.isnan(dice), dice


def _packed(study: ReportStudy, number: int, dice: float) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """The study's entry in the page's list, and the block of its pictures; none, with the reason, if it fails."""
    entry = {"id": study.study_id, "dice": plain(dice), "block": f"study-{number}"}
    try:
        return entry, [(f"study-{number}", pack(make_scene(*study.load(), study.study_id)))]
    except Exception as error:  # one broken study never stops the others
        logger.warning("%s: no pictures in the report: %s", study.study_id, error)
        return entry | {"block": None, "problem": str(error) or type(error).__name__}, []


def _alone(base: Mapping[str, Any], entry: Mapping[str, Any], number: int, count: int, home: str) -> dict[str, Any]:
    """Data of a page of one study: its own rows, and the way to its neighbours."""
    place = base["columns"].index("study_id")
    return {
        **base,
        "title": entry["id"],
        "rows": [row for row in base["rows"] if row[place] == entry["id"]],
        "labels": [],
        "lesions": [],
        "failures": [],
        "alone": {
            "home": f"../{home}",
            "previous": f"{number - 1}.html" if number > 1 else None,
            "next": f"{number + 1}.html" if number < count else None,
            "place": f"{number} of {count}",
        },
    }
