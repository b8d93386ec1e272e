"""Post-processing chosen on the validation studies of finished runs, each segmented by the run that never saw it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg import build
from medseg.config.load import load_pipeline
from medseg.config.schema import PipelineConfig
from medseg.errors import CheckpointError, ConfigError, ManifestError, StudyError, reason
from medseg.files import atomic_path
from medseg.reports.progress import Display
from medseg.run_folder import RunFolder
from medseg.study.manifest import TEST, read_manifest, split
from medseg.types import Grid, Study

if TYPE_CHECKING:
    from medseg.evaluation.tuning import Case, Labels, Tuning
    from medseg.inference.segmenter import Segmenter

logger = logging.getLogger(__name__)


def tune_postprocessing(
    runs: Sequence[Path], *, min_gain: float = 0.001, device: str = "auto", display: Display | None = None
) -> Tuning:
    """Segment the runs' validation studies without post-processing, then choose the steps that help.

    The raw label maps stay in <run>/tuning/<model>/, so that a second call goes on where the first was stopped.

    Args:
        runs: run folders; several are the folds of one cross-validation, whose studies are pooled.
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
    folders = [RunFolder(Path(run)) for run in runs]
    configs = [_config(folder) for folder in folders]
    names = configs[0].label_map.names
    for folder, config in zip(folders, configs, strict=True):
        if config.label_map.names != names:
            raise ConfigError(f"{folder.path}: expected the classes {names} of {folders[0].path}")
    studies = _validation_studies(folders, configs)
    cases: list[Case] = []
    for folder, config, chosen in zip(folders, configs, studies, strict=True):
        cases += _cases(folder, config, chosen, device, display)
    if not cases:
        raise StudyError(f"none of the {sum(map(len, studies))} validation studies could be segmented; see above")
    done = cycle(range(1, len(cases) + 1))  # how many rounds there will be nobody knows
    with display.stage("trying steps", len(cases)):
        return tune(
            cases, names, min_gain=min_gain, on_case=lambda study_id: display.advance(study_id, completed=next(done))
        )


def as_yaml(section: Mapping[str, Any]) -> str:
    """The section as YAML, to be pasted into a pipeline or included by it."""
    import yaml

    text = yaml.safe_dump({"inference": {"postprocess": dict(section)}}, sort_keys=False, default_flow_style=None)
    return str(text)


def write_into_model(run: Path, section: Mapping[str, Any]) -> Path:
    """Make the section the post-processing of a run's model, in place of what model.json had; thresholds stay.

    Returns:
        The model.json, written whole or not at all.
    """
    path = RunFolder(Path(run)).model / "model.json"
    entries = json.loads(path.read_text())
    entries["inference"] = {**_raw(entries["inference"]), "postprocess": {**_thresholds(entries), **section}}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(entries, indent=2) + "\n")
    return path


def _config(folder: RunFolder) -> PipelineConfig:
    for needed in (folder.config, folder.manifest, folder.model / "model.json"):
        if not needed.is_file():
            raise CheckpointError(f"{folder.path}: expected the folder of a trained run, found no {needed.name} in it")
    config = load_pipeline(folder.config)
    if config.data.fold == "all":
        raise ConfigError(
            f"{folder.path}: trained with data.fold all, so no study is left to tune on; train with a fold, or with "
            "--cross-validate and give the runs of all folds"
        )
    return config


def _validation_studies(folders: Sequence[RunFolder], configs: Sequence[PipelineConfig]) -> list[tuple[Study, ...]]:
    """Of each run; a study counts once, and never one that any of the runs keeps for testing."""
    listed = [read_manifest(f.manifest, c.data.root) for f, c in zip(folders, configs, strict=True)]
    chosen = [split(studies, c.data.fold).validation for studies, c in zip(listed, configs, strict=True)]
    tests = {s.subject_id: f for f, studies in zip(folders, listed, strict=True) for s in studies if s.fold == TEST}
    seen: dict[str, RunFolder] = {}
    for folder, studies in zip(folders, chosen, strict=True):
        for study in studies:
            if study.subject_id in tests:
                raise ManifestError(
                    f"{study.study_id}: a validation study of {folder.path} whose subject is a test subject of "
                    f"{tests[study.subject_id].path}; nothing is tuned on test studies"
                )
            if seen.setdefault(study.study_id, folder) != folder:
                raise ManifestError(
                    f"{study.study_id}: a validation study of {seen[study.study_id].path} and of {folder.path}; give "
                    "each fold's run once"
                )
    return chosen


def _cases(
    folder: RunFolder, config: PipelineConfig, studies: Sequence[Study], device: str, display: Display
) -> list[Case]:
    from medseg.evaluation.tuning import Case
    from medseg.inference.model import load_segmenter
    from medseg.inference.postprocess import PostProcessing

    place = folder.path / "tuning" / _fingerprint(folder.model)
    segmenter: Segmenter | None = None
    cases = []
    with display.stage(f"segmenting {folder.run_id}", len(studies)):
        for study in studies:
            path = place / f"{study.study_id}.nii.gz"
            try:
                if not path.is_file():
                    if segmenter is None:
                        segmenter = load_segmenter(folder.model, device)
                        segmenter.postprocessing = PostProcessing()
                    segmenter.segment_file(study.image, path)
                cases.append(Case(study.study_id, _reader(config, study, path)))
            except (StudyError, OSError, MemoryError, RuntimeError) as error:
                if isinstance(error, CheckpointError):
                    raise  # wrong for every study alike
                logger.error("%s: left out: %s", study.study_id, reason(study.study_id, error))
            display.advance(study.study_id)
    return cases


def _reader(config: PipelineConfig, study: Study, path: Path) -> Callable[[], tuple[Labels, Labels, Grid]]:
    from medseg.study.geometry import require_same_grid
    from medseg.study.nifti import read_labels

    reference_map = build.label_map_of(config)(study)
    own_map = build.segmentation_map(config.label_map.names)

    def read() -> tuple[Labels, Labels, Grid]:
        assert study.label is not None  # split() refuses a validation study without one
        reference = read_labels(study.label, reference_map, study.study_id)
        segmentation = read_labels(path, own_map, study.study_id)
        require_same_grid(reference.grid, segmentation.grid, f"{study.study_id}: reference and segmentation")
        return reference.voxels, segmentation.voxels, reference.grid

    return read


def _fingerprint(model: Path) -> str:
    """Changes with the weights and with every setting that a raw label map depends on."""
    entries = json.loads((model / "model.json").read_text())
    settings = {**entries, "inference": {**_raw(entries["inference"]), **_thresholds(entries)}}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    with (model / "weights.safetensors").open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def _raw(inference: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in inference.items() if key not in ("postprocess", "keep_largest")}


def _thresholds(entries: Mapping[str, Any]) -> dict[str, Any]:
    found = entries["inference"].get("postprocess", {}).get("thresholds")
    return {"thresholds": found} if found else {}
