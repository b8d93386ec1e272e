"""Post-processing chosen on the validation studies of finished runs, each segmented by the run that never saw it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.config.load import load_pipeline
from medseg.errors import CheckpointError, ConfigError, ManifestError, StudyError, reason
from medseg.model.folder import read_spec, write_spec
from medseg.model.postprocess import PostProcessing
from medseg.model.spec import ModelSpec, to_entries
from medseg.reports.progress import Display
from medseg.runs.folder import RunFolder
from medseg.runs.run import Run
from medseg.study.manifest import TEST, read_manifest, split
from medseg.tracking import NoTracker
from medseg.types import Study, StudyInput

if TYPE_CHECKING:
    from medseg.evaluation.candidates import Reading
    from medseg.evaluation.tuning import Case, Tuning
    from medseg.inference.request import Request
    from medseg.inference.segmenter import Segmenter

logger = logging.getLogger(__name__)

MOST_CLASSES = 8
"""Up to which thresholds are tried unless they are asked for: every class's probabilities are kept for every study."""


def tune_postprocessing(
    runs: Sequence[Path],
    *,
    thresholds: bool | None = None,
    min_gain: float = 0.001,
    device: str = "auto",
    display: Display | None = None,
) -> Tuning:
    """Segment the runs' validation studies without post-processing, then choose the steps that help.

    The raw label maps and probabilities stay in <run>/tuning/<model>/, so that a second call goes on where the first
    was stopped.

    Args:
        runs: run folders; several are the folds of one cross-validation, whose studies are pooled.
        thresholds: whether thresholds are tried too, from none on; else those of the models hold. None: up to
            ``MOST_CLASSES`` classes.
        min_gain: smallest gain in mean Dice that a step is kept for.
        device: auto, cpu or cuda.
        display: where progress is shown.

    Raises:
        ConfigError: a run with data.fold all, which validates on nothing, or runs with other classes.
        ManifestError: a study that one run validates on and another one validates or tests on.
        CheckpointError: not a run folder with a model.
        StudyError: no study could be segmented.
    """
    from medseg.evaluation.tuning import tune

    display = display or Display()
    finished = [_finished(RunFolder(Path(run)), device, display) for run in runs]
    classes = finished[0].spec.classes
    for run in finished:
        if run.spec.classes != classes:
            raise ConfigError(f"{run.folder.path}: expected the classes {classes.names} of {finished[0].folder.path}")
    studies = _validation_studies(finished)
    trying = len(classes.names) <= MOST_CLASSES if thresholds is None else thresholds
    cases: list[Case] = []
    for run, chosen in zip(finished, studies, strict=True):
        cases += _cases(run, chosen, thresholds=trying)
    if not cases:
        raise StudyError(f"none of the {sum(map(len, studies))} validation studies could be segmented; see above")
    done = cycle(range(1, len(cases) + 1))  # how many rounds there will be nobody knows
    with display.stage("trying steps", len(cases)):
        return tune(
            cases,
            classes,
            thresholds=trying,
            min_gain=min_gain,
            on_case=lambda study_id: display.advance(study_id, completed=next(done)),
        )


def as_yaml(section: Mapping[str, Any]) -> str:
    """The section as YAML, to be pasted into a pipeline or included by it."""
    import yaml

    text = yaml.safe_dump({"inference": {"postprocess": dict(section)}}, sort_keys=False, default_flow_style=None)
    return str(text)


def write_into_model(run: Path, tuning: Tuning) -> Path:
    """Make the kept steps the post-processing of a run's model, in place of what model.json had.

    Thresholds stay as they are where none were tried.

    Returns:
        The model.json, written whole or not at all.
    """
    folder = RunFolder(Path(run)).model
    spec = read_spec(folder)
    stay = {} if tuning.thresholds else {"thresholds": spec.inference.postprocess.thresholds}
    settings = PostProcessing(**{**stay, **tuning.section})
    return write_spec(folder, replace(spec, inference=replace(spec.inference, postprocess=settings)))


def _finished(folder: RunFolder, device: str, display: Display) -> Run:
    """A run of the past, as it stands in its folder.

    Raises:
        CheckpointError: it is none, or has no model.
        ConfigError: it validated on nothing.
    """
    from medseg.model.device import pick_device
    from medseg.training.distributed import ALONE

    for needed in (folder.config, folder.manifest, folder.model / "model.json"):
        if not needed.is_file():
            raise CheckpointError(f"{folder.path}: expected the folder of a trained run, found no {needed.name} in it")
    config = load_pipeline(folder.config)
    if config.data.fold == "all":
        raise ConfigError(
            f"{folder.path}: trained with data.fold all, so no study is left to tune on; train with a fold, or with "
            "--cross-validate and give the runs of all folds"
        )
    studies = read_manifest(folder.manifest, config.data.root)
    splits = split(studies, config.data.fold)
    return Run(config, folder, tuple(studies), splits, NoTracker(), display, pick_device(device), ALONE)


def _validation_studies(runs: Sequence[Run]) -> list[tuple[Study, ...]]:
    """Of each run; a study counts once, and never one that any of the runs keeps for testing."""
    tests = {s.subject_id: run.folder for run in runs for s in run.studies if s.fold == TEST}
    seen: dict[str, RunFolder] = {}
    for run in runs:
        for study in run.splits.validation:
            if study.subject_id in tests:
                raise ManifestError(
                    f"{study.study_id}: a validation study of {run.folder.path} whose subject is a test subject of "
                    f"{tests[study.subject_id].path}; nothing is tuned on test studies"
                )
            if seen.setdefault(study.study_id, run.folder) != run.folder:
                raise ManifestError(
                    f"{study.study_id}: a validation study of {seen[study.study_id].path} and of {run.folder.path}; "
                    "give each fold's run once"
                )
    return [run.splits.validation for run in runs]


def _cases(run: Run, studies: Sequence[Study], *, thresholds: bool) -> list[Case]:
    from medseg.evaluation.tuning import Case
    from medseg.inference.load import load_segmenter

    place = run.folder.path / "tuning" / _fingerprint(run.folder.model, thresholds=thresholds)
    request = _raw_request(read_spec(run.folder.model), thresholds=thresholds)
    segmenter: Segmenter | None = None
    cases = []
    with run.display.stage(f"segmenting {run.folder.run_id}", len(studies)):
        for study in studies:
            path = place / f"{study.study_id}.nii.gz"
            try:
                if not path.is_file():
                    segmenter = segmenter or load_segmenter(run.folder.model, run.device)
                    _segment(segmenter, study.input, path, request)
                cases.append(Case(study.study_id, partial(_read, run, study, path, thresholds=thresholds)))
            except (StudyError, OSError, MemoryError, RuntimeError) as error:
                if isinstance(error, CheckpointError):
                    raise  # wrong for every study alike
                logger.error("%s: left out: %s", study.study_id, reason(study.study_id, error))
            run.display.advance(study.study_id)
    return cases


def _segment(segmenter: Segmenter, study: StudyInput, output: Path, request: Request) -> None:
    """Write a study's probabilities as bytes, then its raw label map: where that stands, all is there."""
    from medseg.study.inputs import read_input
    from medseg.study.nifti import write_fractions, write_labels

    volume = read_input(replace(study, study_id=""))
    result = segmenter.segment(volume, request)
    for index, name in enumerate(result.probabilities, start=1):
        write_fractions(_probability(output, index), result.probabilities[name], volume)
    write_labels(output, result.classes, volume)


def _probability(label_map: Path, index: int) -> Path:
    """The file of a class's probabilities beside a study's label map."""
    return label_map.with_name(label_map.name.replace(".nii.gz", f"__probability_{index}.nii.gz"))


def _read(run: Run, study: Study, path: Path, *, thresholds: bool) -> Reading:
    import numpy as np

    from medseg.evaluation.candidates import Reading
    from medseg.study.geometry import require_same_grid
    from medseg.study.load import read_label
    from medseg.study.nifti import read_fractions

    assert study.label is not None  # split() refuses a validation study without one
    segmentation = read_label(path, run.segmentation_map, study.study_id)
    reference = read_label(study.label, run.label_map_of(study), study.study_id, segmentation.grid)
    require_same_grid(reference.grid, segmentation.grid, f"{study.study_id}: reference and segmentation")
    classes = range(1, run.spec.classes.num_channels)
    stored = np.stack([read_fractions(_probability(path, c)) for c in classes]) if thresholds else None
    return Reading(reference.voxels, segmentation.voxels, reference.grid, stored)


def _raw_request(spec: ModelSpec, *, thresholds: bool) -> Request:
    """A label map before any cleaning: with every class's probabilities, or by the model's own thresholds."""
    from medseg.inference.request import Request

    if thresholds:
        return Request(spec.classes.names, postprocess=PostProcessing())
    return Request(postprocess=PostProcessing(thresholds=spec.inference.postprocess.thresholds))


def _fingerprint(model: Path, *, thresholds: bool) -> str:
    """Changes with the weights and with every setting that a raw label map depends on."""
    spec = read_spec(model)
    kept = PostProcessing() if thresholds else PostProcessing(thresholds=spec.inference.postprocess.thresholds)
    raw = replace(spec, inference=replace(spec.inference, postprocess=kept))
    settings = {**to_entries(raw), "probabilities": thresholds}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    with (model / "weights.safetensors").open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
