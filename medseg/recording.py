"""What a run tells MLflow, and the files that it shows there: inputs, training, scores, pictures, the model."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medseg import build
from medseg.config.schema import PipelineConfig, TrackingConfig
from medseg.reports.progress import Display
from medseg.run_folder import RunFolder
from medseg.study.manifest import Splits, digest, write_manifest
from medseg.tracking import NoTracker, Tracker, open_spooled
from medseg.types import Study

if TYPE_CHECKING:
    from medseg.evaluation import Evaluation
    from medseg.training.checkpoint import TrainingState

logger = logging.getLogger(__name__)


def open_run(config: PipelineConfig, folder: RunFolder, parent: str | None) -> Tracker:
    """Begin the record of a run folder, or go on with the one that it holds; nothing with ``tracking: none``.

    Args:
        config: the pipeline.
        folder: the run's.
        parent: ``Tracker.key`` of the cross-validation that it belongs to.

    Raises:
        TrackingError: see ``tracking.open_spooled``.
    """
    if not isinstance(config.tracking, TrackingConfig):
        return NoTracker()
    facts = {
        "pipeline": config.name,
        "network": config.network.name,
        "mode": config.data.mode,
        "fold": str(config.data.fold),
    }
    searchable = {**facts, "dataset": config.data.manifest.stem}
    tracker = open_spooled(
        run_folder=folder.path,
        runs_dir=config.runs_dir,
        uri=config.tracking.uri,
        experiment=config.tracking.experiment or config.name,
        run_id=folder.remembered().get("run_id"),
        parent=parent,
        tags={**facts, **{f"medseg.{k}": v for k, v in searchable.items()}, **config.tracking.tags},
        offline=config.tracking.offline,
        system_metrics=config.tracking.system_metrics,
    )
    if tracker.run_id:
        folder.remember(run_id=tracker.run_id)
    return tracker


@contextmanager
def recorded(tracker: Tracker) -> Iterator[None]:
    """Whatever ends the block badly ends the MLflow run as FAILED (or KILLED), with the reason."""
    try:
        yield
    except KeyboardInterrupt:
        tracker.finish("KILLED", "interrupted")
        raise
    except Exception as error:
        logger.error("failed: %s", error)
        tracker.finish("FAILED", f"{type(error).__name__}: {error}")
        raise


def record_inputs(
    config: PipelineConfig, folder: RunFolder, tracker: Tracker, studies: Sequence[Study], splits: Splits
) -> None:
    """Parameters, the resolved YAML, and the studies with the folds that were used and their digests."""
    write_manifest(folder.manifest, studies, config.data.root)
    tracker.log_params(config.model_dump(mode="json"))
    tracker.set_tags({"manifest.digest": digest(studies, config.data.root)})
    for file in (folder.config, folder.manifest):
        tracker.log_file(file)
    for context in ("train", "validation", "test"):
        if chosen := getattr(splits, context):
            # MLflow knows data by name and digest: with one digest for all roles it would keep the first only
            tracker.log_dataset(config.data.manifest, digest(chosen, config.data.root), context, len(chosen))


def record_model(
    config: PipelineConfig, folder: RunFolder, state: TrainingState, tracker: Tracker, display: Display
) -> None:
    """How training ended, its curves, and the model, registered where the pipeline asks for it."""
    from medseg.reports.figures import training_curves

    facts = {"training_s": state.elapsed_s, "steps": float(state.step)}
    if state.best_score is not None:
        facts |= {"best/dice": state.best_score, "best/epoch": float(state.best_epoch)}
    tracker.log_metrics(facts, step=len(state.history))
    tracker.set_tags({"medseg.ended_by": state.finished})
    display.say(f"training ended by {state.finished}: {state.step} steps in {state.elapsed_s:.0f} s")
    training_curves(state.history, folder.path / "curves.png")
    tracker.log_file(folder.path / "curves.png")
    tracker.log_model(folder.model)
    if isinstance(config.tracking, TrackingConfig) and config.tracking.register_as:
        tracker.register_model(config.tracking.register_as, config.tracking.alias)


def record_evaluation(
    config: PipelineConfig,
    folder: RunFolder,
    name: str,
    studies: Sequence[Study],
    evaluation: Evaluation,
    tracker: Tracker,
) -> None:
    """Write evaluation.csv and .json; log them, the aggregates, the per-study table and the overlays.

    Args:
        config: the pipeline.
        folder: the run's.
        name: the split that was scored; starts the metrics' names.
        studies: those of the split.
        evaluation: their scores.
        tracker: the run's.
    """
    from medseg.reports.review import aggregates, draw_overlays
    from medseg.reports.tables import study_rows

    for file in ("evaluation.csv", "evaluation.json"):
        write = evaluation.write_csv if file.endswith("csv") else evaluation.write_json
        write(folder.path / file)
        tracker.log_file(folder.path / file)
    tracker.log_metrics(aggregates(evaluation, name), step=0)
    tracker.log_table(study_rows(evaluation.scores), "studies.json")
    overlays = draw_overlays(
        evaluation,
        studies,
        segmentation_of=lambda study: folder.segmentation(study.study_id),
        label_map_of=build.label_map_of(config),
        segmentation_map=build.segmentation_map(config.label_map.names),
        intensity_range_hu=config.preprocessing.intensity_range_hu,
        folder=folder.overlays,
    )
    for rank, path in overlays.items():
        tracker.log_image(path, key=f"overlay/{rank}", step=0)
        tracker.log_file(path, "overlays")  # among the charts MLflow puts every parameter above a picture
