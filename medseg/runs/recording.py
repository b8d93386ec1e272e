"""What a run tells MLflow, and the files that it shows there: inputs, training, scores, pictures, the model."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medseg.config.schema import PipelineConfig
from medseg.runs.folder import RunFolder
from medseg.runs.reporting import draw_run, write_run_report
from medseg.runs.run import Run
from medseg.study.manifest import digest, write_manifest
from medseg.tracking import NoTracker, Tracker, open_spooled
from medseg.tracking.records import Dataset, File, Metrics, Model, Params, Picture, Registration, Table, Tags
from medseg.types import Study, Volume

if TYPE_CHECKING:
    from medseg.evaluation.results import Evaluation
    from medseg.training.checkpoint import TrainingState

logger = logging.getLogger(__name__)


def open_tracker(config: PipelineConfig, folder: RunFolder, parent: str | None) -> Tracker:
    """Begin the record of a run folder, or go on with the one that it holds; nothing with ``tracking: none``.

    Args:
        config: the pipeline.
        folder: the run's.
        parent: ``Tracker.key`` of the cross-validation that it belongs to.

    Raises:
        TrackingError: see ``tracking.open_spooled``.
    """
    if config.tracking == "none":
        return NoTracker()
    facts = {
        "pipeline": config.name,
        "network": config.network.name,
        "mode": config.data.mode,
        "fold": str(config.data.fold),
    }
    searchable = {**facts, "dataset": config.data.manifest.stem}
    tracker = open_spooled(
        config.tracking,
        run_folder=folder.path,
        runs_dir=config.runs_dir,
        experiment=config.name,
        run_id=folder.remembered().get("run_id"),
        parent=parent,
        tags={**facts, **{f"medseg.{k}": v for k, v in searchable.items()}},
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


def record_inputs(run: Run) -> None:
    """Parameters, the resolved YAML, and the studies with the folds that were used and their digests."""
    data, note = run.config.data, run.tracker.note
    write_manifest(run.folder.manifest, run.studies, data.root)
    note(Params(run.config.model_dump(mode="json")))
    note(Tags({"manifest.digest": digest(run.studies, data.root)}))
    for file in (run.folder.config, run.folder.manifest):
        note(File(file))
    for context in ("train", "validation", "test"):
        if chosen := getattr(run.splits, context):
            # MLflow knows data by name and digest: with one digest for all roles it would keep the first only
            note(Dataset(data.manifest, digest(chosen, data.root), context, len(chosen)))


def record_model(run: Run, state: TrainingState) -> None:
    """How training ended, its curves, and the model, registered where the pipeline asks for it."""
    from medseg.reports.figures import training_curves

    facts = {"training_s": state.elapsed_s, "steps": float(state.step)}
    if state.best_score is not None:
        facts |= {"best/dice": state.best_score, "best/epoch": float(state.best_epoch)}
    run.tracker.note(Metrics(facts, step=len(state.history)))
    run.tracker.note(Tags({"medseg.ended_by": state.finished}))
    run.display.message(f"training ended by {state.finished}: {state.step} steps in {state.elapsed_s:.0f} s")
    training_curves(state.history, run.folder.path / "curves.png")
    run.tracker.note(File(run.folder.path / "curves.png"))
    run.tracker.note(Model(run.folder.model))
    tracking = run.config.tracking
    if tracking != "none" and tracking.register_as:
        run.tracker.note(Registration(tracking.register_as, tracking.alias))


class ValidationPictures:
    """One validation study, the same slices after every validation: an image grid whose slider goes through the epochs.

    Args:
        run: the first study of its validation set is shown.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._study_id = run.splits.validation[0].study_id if run.splits.validation else None
        self._drawn = False

    def draw(self, study_id: str, image: Volume, reference: NDArray[np.uint8], segmentation: NDArray[np.uint8]) -> None:
        """Draw the study that is shown; others are passed over."""
        if study_id != self._study_id:
            return
        true, segmented = Volume(reference, image.grid), Volume(segmentation, image.grid)
        first = self._path("reference")
        if not first.is_file():  # MLflow's slider starts at step 0, and would show an empty grid there
            self._draw(f"{study_id}, reference", image, None, true, first)
            self._run.tracker.note(Picture(first, _VALIDATION_KEY, step=0))
        self._draw(study_id, image, true, segmented, self._path("validation"))
        self._drawn = True

    def log(self, epoch: int) -> None:
        """Record the picture of the validation that ended this epoch, if there was one."""
        if self._drawn:
            self._run.tracker.note(Picture(self._path("validation"), _VALIDATION_KEY, step=epoch))
        self._drawn = False

    def _path(self, name: str) -> Path:
        return self._run.folder.overlays / f"{name}.png"

    def _draw(self, title: str, image: Volume, reference: Volume | None, segmentation: Volume, path: Path) -> None:
        from medseg.reports.figures import overlay

        self._run.folder.overlays.mkdir(exist_ok=True)
        names, window = self._run.spec.classes.names, self._run.spec.preprocessing.intensity_range_hu
        overlay(
            image,
            reference,
            segmentation,
            names,
            intensity_range_hu=window,
            title=title,
            path=path,
            by_reference=True,
        )


_VALIDATION_KEY = "overlay/validation"


def record_evaluation(run: Run, name: str, studies: Sequence[Study], evaluation: Evaluation) -> None:
    """Write the scores, the pictures and the report page; log them, the aggregates and the per-study table.

    Args:
        run: where all of it goes.
        name: the split that was scored; starts the metrics' names.
        studies: those of the split.
        evaluation: their scores.
    """
    from medseg.reports.review import aggregates

    _record_scores(run, evaluation)
    run.tracker.note(Metrics(aggregates(evaluation, name), step=0))
    for key, path in draw_run(run, studies, evaluation).items():
        run.tracker.note(Picture(path, key=key, step=0))
        run.tracker.note(File(path, "overlays"))  # among the charts MLflow puts every parameter above a picture
    if run.config.evaluation.report:
        _record_pages(run, write_run_report(run, studies, evaluation, name))


def record_folds(run: Run, folds: Sequence[tuple[RunFolder, Evaluation]]) -> None:
    """All folds' studies together, each scored by the model that had not seen it: scores, table and report page."""
    from medseg.evaluation.results import Evaluation

    home = {study.study_id: fold for fold, evaluation in folds for study in evaluation.scores}
    together = Evaluation(
        tuple(study for _, evaluation in folds for study in evaluation.scores),
        tuple(failure for _, evaluation in folds for failure in evaluation.failures),
        run.config.evaluation.options,
    )
    _record_scores(run, together)
    if run.config.evaluation.report:
        shown = [study for study in run.studies if study.study_id in home]
        pages = write_run_report(run, shown, together, "validation", lambda name: home[name].segmentation(name))
        _record_pages(run, pages)


def _record_scores(run: Run, evaluation: Evaluation) -> None:
    from medseg.reports.tables import study_rows

    for file in evaluation.write(run.folder.path / "evaluation.csv"):
        run.tracker.note(File(file))
    run.tracker.note(Table(study_rows(evaluation.scores), "studies.json"))


def _record_pages(run: Run, pages: Sequence[Path]) -> None:
    main, *others = pages
    run.tracker.note(File(main))
    for page in others:
        run.tracker.note(File(page, page.parent.name))
