"""Score the segmentations of a folder or a manifest against references; needs no model."""

from __future__ import annotations

import logging
from pathlib import Path

from medseg.evaluation.files import require_same_classes
from medseg.evaluation.options import DEFAULT_OPTIONS, ScoringOptions
from medseg.evaluation.pairing import pair_folders
from medseg.evaluation.results import Evaluation, Failure
from medseg.evaluation.scores import StudyScores
from medseg.evaluation.workers import Job, OnDone, score_jobs
from medseg.types import LabelMap

log = logging.getLogger(__name__)


def evaluate_folders(
    reference: Path,
    segmentation: Path,
    labels: LabelMap,
    segmentation_labels: LabelMap | None = None,
    options: ScoringOptions = DEFAULT_OPTIONS,
    *,
    root: Path | None = None,
    segmentation_root: Path | None = None,
    resample_segmentation: bool = False,
    workers: int = 1,
    on_done: OnDone | None = None,
) -> Evaluation:
    """Score every segmentation against the reference of the same name.

    A study that breaks, and a reference without a segmentation, become failures; a segmentation without a reference is
    warned about and listed. ``pairing.pair_folders`` says which names match, and what a manifest looks like.

    Args:
        reference: folder of label files, or a manifest CSV.
        segmentation: folder of label files, or a manifest CSV.
        labels: how the reference's values become classes.
        segmentation_labels: the same classes from the segmentation's values; None if the values are the same.
        options: what to score beside the overlap.
        root: folder that a reference manifest's paths are relative to; its own by default.
        segmentation_root: folder that a segmentation manifest's paths are relative to; its own by default.
        resample_segmentation: bring segmentations on another grid onto the reference's instead of refusing them.
        workers: processes; each holds one study in memory.
        on_done: called after each study.

    Raises:
        ManifestError: a folder without label files, no pair at all, an id twice, or a manifest that is none.
        ConfigError: the two label maps name different classes, or the options name a label that is none.
    """
    segmentation_labels = segmentation_labels or labels
    require_same_classes(labels, segmentation_labels)
    options.require(labels.names)
    pairing = pair_folders(reference, segmentation, root=root, segmentation_root=segmentation_root)
    for study_id, path in pairing.only_segmentation.items():
        log.warning("%s: no reference of that name in %s; %s is not scored", study_id, reference, path.name)
    jobs = [
        Job(study_id, one, other, labels, segmentation_labels, options, resample_segmentation)
        for study_id, one, other in pairing.pairs
    ]
    outcomes = score_jobs(jobs, workers, on_done)
    unpaired = [
        Failure(study_id, f"no segmentation of that name in {segmentation}") for study_id in pairing.only_reference
    ]
    broken = [Failure(study_id, why) for study_id, why in pairing.broken.items()]
    failures = [*unpaired, *broken, *(outcome for outcome in outcomes if isinstance(outcome, Failure))]
    for failure in failures:
        log.error("%s: not scored: %s", failure.study_id, failure.reason)
    return Evaluation(
        scores=tuple(outcome for outcome in outcomes if isinstance(outcome, StudyScores)),
        failures=tuple(failures),
        options=options,
        without_reference=tuple(pairing.only_segmentation),
    )
