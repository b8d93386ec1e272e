"""Where a run keeps its files, and how a later process finds them again.

runs/<pipeline>/<run id>/
  config.yaml manifest.csv tracking.json log.jsonl
  tracking/ (what was recorded, and how far MLflow has it)
  checkpoints/last.ckpt best.ckpt
  model/ segmentations/ overlays/ curves.png
  evaluation.csv evaluation.json evaluation_lesions.csv report.html
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.config.load import dump
from medseg.config.marks import marked
from medseg.config.schema import PipelineConfig
from medseg.errors import CheckpointError
from medseg.files import atomic_path, remove_remains, without_nan
from medseg.settings import LENGTHENS, MAY_CHANGE
from medseg.study.manifest import digest, read_manifest
from medseg.types import Study


@dataclass(frozen=True)
class RunFolder:
    """One run's folder."""

    path: Path

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def config(self) -> Path:
        """The resolved pipeline."""
        return self.path / "config.yaml"

    @property
    def manifest(self) -> Path:
        """The studies with the folds that were used."""
        return self.path / "manifest.csv"

    @property
    def checkpoints(self) -> Path:
        """Folder of last.ckpt and best.ckpt."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """All that ``medseg segment --model`` needs."""
        return self.path / "model"

    @property
    def segmentations(self) -> Path:
        """Folder of <study_id>.nii.gz."""
        return self.path / "segmentations"

    def segmentation(self, study_id: str) -> Path:
        """Where a study's segmentation is."""
        return self.segmentations / f"{study_id}.nii.gz"

    @property
    def overlays(self) -> Path:
        """Folder of PNGs."""
        return self.path / "overlays"

    @property
    def report(self) -> Path:
        """The page to review the evaluation with."""
        return self.path / "report.html"

    def remember(self, **entries: Any) -> None:
        """Add entries to tracking.json."""
        with atomic_path(self.path / "tracking.json") as path:
            path.write_text(json.dumps({**self.remembered(), **entries}, indent=1) + "\n")

    def remembered(self) -> dict[str, Any]:
        """Entries of tracking.json."""
        path = self.path / "tracking.json"
        return dict(json.loads(path.read_text())) if path.is_file() else {}


def new_run(config: PipelineConfig, suffix: str = "") -> RunFolder:
    """Make runs/<pipeline>/<date-time><suffix>/ with its config.yaml."""
    base = config.runs_dir / config.name
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for attempt in range(100):
        folder = base / f"{stamp}{suffix}{f'-{attempt}' if attempt else ''}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:  # another run of the same second
            continue
        with atomic_path(folder / "config.yaml") as path:
            path.write_text(dump(config))
        return RunFolder(folder)
    raise OSError(f"{base}: no free run folder for {stamp}")


def find_run(config: PipelineConfig, which: str) -> RunFolder:
    """The run to resume.

    Args:
        config: the pipeline as it is now.
        which: a run folder, or ``last`` for the pipeline's newest run.

    Raises:
        CheckpointError: there is no such run or nothing to resume in it, or its settings differ from today's.
    """
    if which == "last":
        base = config.runs_dir / config.name
        runs = sorted(p.parent.parent for p in base.glob("*/checkpoints/last.ckpt"))
        if not runs:
            raise CheckpointError(f"nothing to resume: {base} holds no run with checkpoints/last.ckpt")
        folder = RunFolder(runs[-1])
    else:
        folder = RunFolder(Path(which))
        if not (folder.checkpoints / "last.ckpt").is_file():
            raise CheckpointError(f"nothing to resume: {folder.path} has no checkpoints/last.ckpt")
    _require_same_settings(folder, config)
    remove_remains(folder.checkpoints, older_than_s=0)  # the run is dead and this folder was its alone
    return folder


def require_same_studies(folder: RunFolder, studies: Sequence[Study], root: Path) -> None:
    """Refuse to go on with other studies or folds than the run began with: the epochs would no longer be comparable.

    Raises:
        CheckpointError: the manifest was changed since.
    """
    before = read_manifest(folder.manifest, root, check_files=False)
    if digest(before, root) != digest(studies, root):
        raise CheckpointError(
            f"{folder.path} cannot be resumed: the manifest has changed since ({len(before)} studies then, "
            f"{len(studies)} now); set data.manifest to {folder.manifest}, or start a new run"
        )


def _require_same_settings(folder: RunFolder, config: PipelineConfig) -> None:
    import yaml

    may_change = marked(PipelineConfig, MAY_CHANGE, LENGTHENS)
    before, now = _flat(yaml.safe_load(folder.config.read_text())), _flat(yaml.safe_load(dump(config)))
    differing = [
        f"{key}: {before.get(key)!r} then, {now.get(key)!r} now"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not any(key == k or key.startswith(f"{k}.") for k in may_change)
    ]
    if folder.remembered().get("complete") and all(
        before.get(k) == now.get(k) for k in marked(PipelineConfig, LENGTHENS)
    ):
        raise CheckpointError(
            f"nothing to resume: {folder.path} is complete; raise training.epochs or training.max_minutes to train on"
        )
    if differing:
        raise CheckpointError(
            f"{folder.path} cannot be resumed with other settings ({'; '.join(differing)}); use the run's own "
            "config.yaml, or start a new run"
        )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}.{key}" if prefix else key).items()}


class _JsonLines(logging.Handler):
    """One JSON object a line: time, level, message, and the record's ``facts`` (numbers; null for NaN)."""

    def __init__(self, path: Path) -> None:
        super().__init__(logging.INFO)
        self.stream = path.open("a", encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        entry = {"time": round(record.created, 3), "level": record.levelname, "message": record.getMessage()}
        entry.update(without_nan(getattr(record, "facts", {})))
        self.stream.write(json.dumps(entry) + "\n")
        self.stream.flush()

    def close(self) -> None:
        self.stream.close()
        super().close()


@contextmanager
def logged(folder: RunFolder, *, main: bool = True) -> Iterator[None]:
    """Write medseg's log records of the block to log.jsonl (of the main process only)."""
    if not main:
        yield
        return
    handler = _JsonLines(folder.path / "log.jsonl")
    logger = logging.getLogger("medseg")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(before or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()
