"""Many studies, one after another: a broken one is reported and never stops the others."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from medseg.errors import StudyError, reason
from medseg.inference.segmenter import Segmenter
from medseg.types import StudyInput

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How one study ended.

    Attributes:
        study_id: names the segmentation.
        status: ok or failed.
        reason: why it failed, one line.
        segmentation: the file written, "" if none.
        seconds: reading to writing.
    """

    study_id: str
    status: Literal["ok", "failed"]
    reason: str
    segmentation: str
    seconds: float


def segment_studies(
    segmenter: Segmenter,
    inputs: Sequence[StudyInput | tuple[str, Path]],
    output: Path,
    *,
    on_done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Segment every input into ``output``/<study_id>.nii.gz and append one line a study to ``output``/segment.jsonl.

    Args:
        segmenter: a loaded model.
        inputs: what ``find_inputs`` gives, or (study id, image path) pairs.
        output: folder, made if absent.
        on_done: called after each study.

    Returns:
        One outcome a study, in order.
    """
    output.mkdir(parents=True, exist_ok=True)
    outcomes = []
    with (output / "segment.jsonl").open("a") as record:
        for item in inputs:
            study = item if isinstance(item, StudyInput) else StudyInput(*item)
            outcome = _segment_one(segmenter, study, output / f"{study.study_id}.nii.gz")
            record.write(json.dumps(asdict(outcome)) + "\n")
            record.flush()
            outcomes.append(outcome)
            on_done(outcome)
    return outcomes


def _segment_one(segmenter: Segmenter, study: StudyInput, place: Path) -> Outcome:
    study_id, started = study.study_id, time.monotonic()
    try:
        segmenter.segment_file(study, place)
    except (StudyError, OSError, MemoryError, RuntimeError) as error:
        # RuntimeError: torch's own out-of-memory and shape errors; the next study may well succeed
        why = reason(study_id, error)
        logger.error("%s: %s", study_id, why)
        return Outcome(study_id, "failed", why, "", time.monotonic() - started)
    return Outcome(study_id, "ok", "", str(place), time.monotonic() - started)
