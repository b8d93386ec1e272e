"""The pipeline from a config to a reviewed result: train, segment, evaluate, record."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from medseg.config.schema import PipelineConfig
from medseg.errors import ConfigError, ManifestError, MedsegError, reason
from medseg.reports.progress import Display
from medseg.runs import build
from medseg.runs.folder import RunFolder, find_run, logged, new_run, require_same_studies
from medseg.runs.recording import (
    ValidationPictures,
    open_run,
    record_evaluation,
    record_folds,
    record_inputs,
    record_model,
    recorded,
)
from medseg.study.manifest import Splits, assign_folds, read_manifest, split
from medseg.tracking import NoTracker, Tracker
from medseg.tracking.records import Metrics, Params, Tags
from medseg.types import Study

if TYPE_CHECKING:
    import torch

    from medseg.data.cache import CachedStudy
    from medseg.evaluation import Evaluation
    from medseg.training.checkpoint import TrainingState
    from medseg.training.distributed import World

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
    from medseg.model.device import pick_device
    from medseg.signals import interrupt_on_sigterm
    from medseg.training.distributed import from_main, process_group, world_from_environment

    world = world_from_environment()
    display = display or Display(quiet=not world.is_main)
    device = pick_device(config.training.device, world.local_rank)
    studies, splits = load_studies(config)
    with process_group(world, device):
        made = _run_folder(config, resume, suffix, studies) if world.is_main else None
        folder = cast(RunFolder, from_main(world, made))
        tracker = open_run(config, folder, parent) if world.is_main else NoTracker()
        with logged(folder, main=world.is_main), interrupt_on_sigterm(), recorded(tracker):
            if world.is_main and not resume:
                record_inputs(config, folder, tracker, studies, splits)
            state, stopped = train(config, folder, splits, tracker, display, device, resume=bool(resume), world=world)
            name, chosen = studies_to_score(config, splits)
            evaluation = None
            if world.is_main and not stopped:
                record_model(config, folder, state, tracker, display)
                if not train_only and chosen:
                    evaluation = segment_and_score(config, folder, chosen, device, display)
                    record_evaluation(config, folder, name, chosen, evaluation, tracker)
                elif not train_only:
                    display.message(f"no {name} study has a label: nothing to score (evaluation.split)")
                folder.remember(complete=not train_only)
            tracker.finish("KILLED" if stopped else "FINISHED", f"stopped by {stopped}" if stopped else "")
    return RunResult(folder, name if evaluation else "", evaluation, tracker, stopped)


def cross_validate(config: PipelineConfig, *, display: Display | None = None) -> list[RunResult]:
    """Run every fold of the manifest as a child of one MLflow run, which gets the mean and sd over the folds.

    Raises:
        ConfigError: under torchrun: the folds would wait for each other.
        MedsegError: see ``run``.
    """
    from medseg.training.distributed import world_from_environment

    if world_from_environment().size > 1:
        raise ConfigError("--cross-validate runs in one process; under torchrun start every fold by itself")
    studies, _ = load_studies(config)
    folder = new_run(config, "-cv")
    parent = open_run(config, folder, None)
    results: list[RunResult] = []
    with logged(folder), recorded(parent):
        parent.note(Params(config.model_dump(mode="json")))
        for fold in sorted({int(s.fold) for s in studies if s.fold.isdigit()}):
            data = replace(config.data, fold=fold)
            evaluation = replace(config.evaluation, split="validation")
            of_fold = config.model_copy(update={"data": data, "evaluation": evaluation})
            results.append(run(of_fold, parent=parent.key, suffix=f"-fold{fold}", display=display))
            if results[-1].stopped:
                parent.finish("KILLED", f"fold {fold} was stopped by {results[-1].stopped}")
                return results
        folds = [(r.folder, r.evaluation) for r in results if r.evaluation]
        parent.note(Metrics(over_folds([evaluation for _, evaluation in folds]), step=0))
        record_folds(config, folder, studies, folds, parent)
        parent.finish("FINISHED")
    return results


def over_folds(evaluations: Sequence[Evaluation]) -> dict[str, float]:
    """Mean and sd over the folds of every aggregate that a fold records: ``cv/dice/liver``, ``cv/dice_sd/liver`` ...

    Numbers of studies are summed: each is in one fold. A fold's own spreads and medians over its studies are left out.
    A fold that lacks a label does not count for it; an sd needs two that have it.
    """
    from medseg.reports.review import aggregates

    values: dict[str, list[float]] = {}
    for evaluation in evaluations:
        for name, value in aggregates(evaluation, "cv").items():
            if not name.split("/")[1].endswith(_OF_ONE_FOLD) and not math.isnan(value):
                values.setdefault(name, []).append(value)
    totals = {name: sum(values.pop(name)) for name in list(values) if name.split("/")[1].endswith("studies")}
    means = {name: statistics.fmean(found) for name, found in values.items()}
    spreads = {_spread_name(name): statistics.stdev(found) for name, found in values.items() if len(found) > 1}
    return means | spreads | totals


_OF_ONE_FOLD = ("_sd", "_median", "_q1", "_q3", "_low", "_high")
"""How the names of aggregates end that describe the studies of one fold among themselves."""


def _spread_name(name: str) -> str:
    prefix, score, *label = name.split("/")
    return "/".join((prefix, f"{score}_sd", *label))


def load_studies(config: PipelineConfig) -> tuple[list[Study], Splits]:
    """Read the manifest, give folds by subject to studies without one, and split.

    Raises:
        ManifestError: see ``study.manifest``.
    """
    studies = read_manifest(config.data.manifest, config.data.root)
    subjects = {s.subject_id for s in studies if not s.fold} - {s.subject_id for s in studies if s.fold}
    if len(subjects) > 1:  # one alone cannot be cut into folds; it may still train with data.fold "all"
        studies = assign_folds(studies, num_folds=min(5, len(subjects)))
        logger.info("%s: %d subjects without a fold were given one", config.data.manifest, len(subjects))
    return studies, split(studies, config.data.fold)


def studies_to_score(config: PipelineConfig, splits: Splits) -> tuple[str, list[Study]]:
    """Name and labelled studies of the split that ``evaluation.split`` asks for."""
    labelled = {name: [s for s in getattr(splits, name) if s.label] for name in ("test", "validation", "train")}
    if config.evaluation.split != "auto":
        return config.evaluation.split, labelled[config.evaluation.split]
    return next((name, found) for name, found in labelled.items() if found)


def train(
    config: PipelineConfig,
    folder: RunFolder,
    splits: Splits,
    tracker: Tracker,
    display: Display,
    device: torch.device,
    *,
    resume: bool,
    world: World,
) -> tuple[TrainingState, str]:
    """Train the network; its best weights (the last ones without validation) become the run's model.

    Returns:
        The final training state, and the signal that stopped training ("" if it came to its end).
    """
    from medseg.signals import stop_signals
    from medseg.training.fit import FitHooks, fit, progress
    from medseg.training.objective import LABELLED, Supervised
    from medseg.training.trainee import Trainee

    build.set_up_torch(config)
    cached = _cached(config, splits.train, tracker, display, world)
    network = build.network(config)
    _warn_of_patch(config, network, display)
    settings = config.training

    def on_step(state: TrainingState) -> None:
        best = "" if state.best_score is None else f", best Dice {state.best_score:.3f}"
        display.advance(f"{progress(settings, state):.0%}{best}", completed=state.step)

    pictures = ValidationPictures(config, folder, tracker, splits.validation)

    def on_epoch(state: TrainingState) -> None:
        row = state.history[-1]
        pictures.log(int(row["epoch"]))
        tracker.note(Metrics({k: v for k, v in row.items() if k not in ("epoch", "score")}, step=int(row["epoch"])))
        logger.info("epoch %d", row["epoch"], extra={"facts": row})
        display.epoch(row, settings.epochs)

    with stop_signals() as asked, display.stage("training", settings.total_steps):
        streams = {LABELLED: build.labelled(config, cached, world)}
        trainee = Trainee.of(network, settings, device, spatial_dims=config.view.spatial_dims, world=world)
        state = fit(
            trainee,
            Supervised(build.loss(config, cached).to(device)),
            streams,
            settings,
            FitHooks(
                build.validator(config, splits.validation, pictures.draw),
                on_step,
                on_epoch,
                lambda: asked[0] if asked else "",
            ),
            checkpoints=folder.checkpoints,
            resume=resume,
            world=world,
        )
    if state.finished and world.is_main:
        _keep_model(config, folder, trainee.evaluated, state)
    return state, "" if state.finished else (asked[0] if asked else "another process")


def segment_and_score(
    config: PipelineConfig, folder: RunFolder, studies: Sequence[Study], device: torch.device, display: Display
) -> Evaluation:
    """Segment the studies with the run's model and score each on its own grid.

    A study that breaks becomes a failure with its reason; the others are scored.
    """
    from medseg.batch.record import fingerprint
    from medseg.batch.studies import segment_studies
    from medseg.evaluation import Evaluation, Failure, score_files
    from medseg.inference.load import load_segmenter

    segmenter = load_segmenter(folder.model, device)
    inputs = [study.input for study in studies]
    with display.stage("segmenting", len(studies)):
        outcomes = segment_studies(
            segmenter,
            inputs,
            folder.segmentations,
            fingerprint=fingerprint([folder.model], {}),
            on_done=lambda outcome: display.advance(outcome.study_id),
        )
    failed = {o.study_id: o.reason for o in outcomes if o.status == "failed"}
    reference_map = build.label_map_of(config)
    own_map = build.segmentation_map(config.label_map.names)
    options = config.evaluation.options
    scores = []
    with display.stage("evaluating", len(studies)):
        for study in studies:
            display.advance(study.study_id)
            if study.study_id in failed or study.label is None:
                continue
            try:
                path = folder.segmentation(study.study_id)
                scores.append(score_files(study.study_id, study.label, path, reference_map(study), own_map, options))
            except (MedsegError, OSError) as error:
                failed[study.study_id] = reason(study.study_id, error)
                logger.error("%s: not scored: %s", study.study_id, failed[study.study_id])
    return Evaluation(tuple(scores), tuple(Failure(study_id, why) for study_id, why in failed.items()), options)


def _run_folder(config: PipelineConfig, resume: str | None, suffix: str, studies: Sequence[Study]) -> RunFolder:
    if not resume:
        return new_run(config, suffix)
    folder = find_run(config, resume)
    require_same_studies(folder, studies, config.data.root)
    return folder


def _cached(
    config: PipelineConfig, studies: Sequence[Study], tracker: Tracker, display: Display, world: World
) -> list[CachedStudy]:
    from medseg.data.cache import cache_studies
    from medseg.training.distributed import from_main

    def cache() -> tuple[list[CachedStudy], dict[str, str]]:
        return cache_studies(
            studies,
            folder=config.data.cache_dir or config.runs_dir / "cache",
            preprocessing=config.preprocessing,
            label_map_of=build.label_map_of(config),
            on_done=display.advance,
        )

    with display.stage("preparing", len(studies)):
        found = from_main(world, cache() if world.is_main else None)  # the other processes wait for it
    usable, broken = cast("tuple[list[CachedStudy], dict[str, str]]", found)
    for study_id, why in broken.items():
        logger.error("%s: left out of training: %s", study_id, why)
    if broken:
        tracker.note(Tags({"medseg.left_out": ", ".join(broken)}))
    if not usable:
        first = next(iter(broken.values()))
        raise ManifestError(f"none of the {len(broken)} training studies can be used; the first: {first}")
    return usable


def _warn_of_patch(config: PipelineConfig, network: torch.nn.Module, display: Display) -> None:
    from medseg.networks import check_patch

    for warning in check_patch(network, config.data.patch_size):
        logger.warning("%s", warning)


def _keep_model(config: PipelineConfig, folder: RunFolder, network: torch.nn.Module, state: TrainingState) -> None:
    from medseg.model.folder import copy_model, save_model
    from medseg.training.checkpoint import load_checkpoint

    if config.training.keep == "best" and state.best_score is not None:
        tensors, _ = load_checkpoint(folder.checkpoints / "best.ckpt")
        network.load_state_dict(tensors["network"])
    locate = config.inference.locate
    if locate is not None and locate.model is not None:
        copy_model(locate.model, folder.model / build.COARSE_MODEL)
    save_model(folder.model, network, build.model_spec(config))
