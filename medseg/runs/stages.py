"""The pipeline from a config to a reviewed result: train, segment, evaluate, record."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from medseg.config.schema import PipelineConfig
from medseg.errors import MedsegError, reason
from medseg.reports.progress import Display
from medseg.runs.folder import RunFolder, find_run, logged, new_run, require_same_studies
from medseg.runs.recording import open_tracker, record_evaluation, record_inputs, record_model, recorded
from medseg.runs.run import Run
from medseg.runs.studies import load_studies, studies_to_score
from medseg.runs.train import train
from medseg.tracking import NoTracker, Tracker
from medseg.types import Study

if TYPE_CHECKING:
    from medseg.evaluation.results import Evaluation

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """What a run left behind.

    Attributes:
        folder: the run folder.
        split: which studies were scored: train, validation or test ("" if none).
        evaluation: their scores, None if training was stopped or nothing was to be scored.
        tracker: where it was recorded; its ``url`` is the link to look at.
        stopped: the signal that stopped it before its end, "" if none did.
    """

    folder: RunFolder
    split: str
    evaluation: Evaluation | None
    tracker: Tracker
    stopped: str


def run(
    config: PipelineConfig,
    *,
    resume: str | None = None,
    train_only: bool = False,
    parent: str | None = None,
    suffix: str = "",
    display: Display | None = None,
) -> RunResult:
    """Train, segment, evaluate and record one pipeline.

    Args:
        config: the pipeline.
        resume: a run folder or ``last``: go on with that run, in its folder and its MLflow run.
        train_only: stop after training.
        parent: ``Tracker.key`` of the cross-validation that this fold belongs to.
        suffix: ends the run id.
        display: where progress is shown.

    Raises:
        MedsegError: wrong manifest, nothing to resume, no usable study ...; the MLflow run is marked FAILED with it.
    """
    with begun(config, resume=resume, parent=parent, suffix=suffix, display=display) as one:
        if one.world.is_main and not resume:
            record_inputs(one)
        state, stopped = train(one, resume=bool(resume))
        name, chosen = studies_to_score(config, one.splits)
        evaluation = None
        if one.world.is_main and not stopped:
            record_model(one, state)
            if not train_only and chosen:
                evaluation = segment_and_score(one, chosen)
                record_evaluation(one, name, chosen, evaluation)
            elif not train_only:
                one.display.message(f"no {name} study has a label: nothing to score (evaluation.split)")
            one.folder.remember(complete=not train_only)
        one.tracker.finish("KILLED" if stopped else "FINISHED", f"stopped by {stopped}" if stopped else "")
    return RunResult(one.folder, name if evaluation else "", evaluation, one.tracker, stopped)


@contextmanager
def begun(
    config: PipelineConfig,
    *,
    resume: str | None = None,
    parent: str | None = None,
    suffix: str = "",
    display: Display | None = None,
) -> Iterator[Run]:
    """A run with its folder, log and tracker; what ends the block badly ends the record so. See ``run``."""
    from medseg.model.device import pick_device
    from medseg.signals import interrupt_on_sigterm
    from medseg.training.distributed import from_main, process_group, world_from_environment

    world = world_from_environment()
    display = display or Display(quiet=not world.is_main)
    device = pick_device(config.training.device, world.local_rank)
    studies, splits = load_studies(config)
    with process_group(world, device):
        made = _folder(config, resume, suffix, studies) if world.is_main else None
        folder = cast(RunFolder, from_main(world, made))
        tracker = open_tracker(config, folder, parent) if world.is_main else NoTracker()
        with logged(folder, main=world.is_main), interrupt_on_sigterm(), recorded(tracker):
            yield Run(config, folder, tuple(studies), splits, tracker, display, device, world)


def segment_and_score(run: Run, studies: Sequence[Study]) -> Evaluation:
    """Segment the studies with the run's model and score each on its own grid.

    A study that breaks becomes a failure with its reason; the others are scored.
    """
    from medseg.batch.record import fingerprint
    from medseg.batch.studies import segment_studies
    from medseg.evaluation.files import score_files
    from medseg.evaluation.results import Evaluation, Failure
    from medseg.inference.load import load_segmenter

    with run.display.stage("segmenting", len(studies)):
        outcomes = segment_studies(
            load_segmenter(run.folder.model, run.device),
            [study.input for study in studies],
            run.folder.segmentations,
            fingerprint=fingerprint([run.folder.model], {}),
            on_done=lambda outcome: run.display.advance(outcome.study_id),
        )
    failed = {o.study_id: o.reason for o in outcomes if o.status == "failed"}
    options, scores = run.config.evaluation.options, []
    with run.display.stage("evaluating", len(studies)):
        for study in studies:
            run.display.advance(study.study_id)
            if study.study_id in failed or study.label is None:
                continue
            try:
                path, own = run.folder.segmentation(study.study_id), run.segmentation_map
                scores.append(score_files(study.study_id, study.label, path, run.label_map_of(study), own, options))
            except (MedsegError, OSError) as error:
                failed[study.study_id] = reason(study.study_id, error)
                logger.error("%s: not scored: %s", study.study_id, failed[study.study_id])
    return Evaluation(tuple(scores), tuple(Failure(study_id, why) for study_id, why in failed.items()), options)


def _folder(config: PipelineConfig, resume: str | None, suffix: str, studies: Sequence[Study]) -> RunFolder:
    if not resume:
        return new_run(config, suffix)
    folder = find_run(config, resume)
    require_same_studies(folder, studies, config.data.root)
    return folder
