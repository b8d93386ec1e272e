"""The record of a folder of segmentations, segment.jsonl: a line per study and run, whole even after a kill."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from medseg.locks import append_whole, lock
from medseg.types import StudyInput
from medseg.version import __version__

RECORD = "segment.jsonl"
"""Name of the record in the output folder."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How one study ended; one line of the record. A skipped one has the figures of the run that did it.

    Attributes:
        study_id: names the segmentation.
        status: ok, failed, or skipped: done before from the same input with the same model and settings.
        reason: why it failed or was skipped, one line.
        segmentation: the label map, "" if there is none.
        read_s: seconds spent reading.
        predict_s: from the volume to the label map in memory.
        write_s: seconds spent writing.
        total_s: from the first byte read to the last one written; waiting for its turn between stages included.
        peak_gib: the most memory that its process ever held so far.
        voxels: of the image.
        notes: what the segmenter wants a person to know.
        fingerprint: of the model and the settings.
        input_digest: of the files that were read.
        ended: when, in ISO 8601 and UTC.
    """

    study_id: str
    status: Literal["ok", "failed", "skipped"]
    reason: str = ""
    segmentation: str = ""
    read_s: float = 0.0
    predict_s: float = 0.0
    write_s: float = 0.0
    total_s: float = 0.0
    peak_gib: float = 0.0
    voxels: int = 0
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    input_digest: str = ""
    ended: str = ""


class Record:
    """Appends outcomes to a file that several runs may share, and knows how each study last ended.

    Args:
        path: the file; made with the first outcome.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        self._last: dict[str, tuple[Outcome, int]] = {}
        self._unwritten: list[Outcome] = []
        self.refresh()
        self._start = self._read

    def append(self, outcome: Outcome) -> None:
        """Write one line, whole or not at all.

        On a full disk the batch goes on: the line is kept, and written with the next one that can be.
        """
        self._unwritten.append(outcome)
        text = "".join(json.dumps(asdict(o)) + "\n" for o in self._unwritten)
        try:
            with _locked(self.path) as descriptor:
                append_whole(descriptor, text.encode())
        except OSError as error:
            logger.warning("%s: the line of %s cannot be written yet (%s)", self.path, outcome.study_id, error)
        else:
            self._unwritten.clear()

    def refresh(self) -> None:
        """Read the lines that were added since, by other runs too; those cut short by a kill are passed over."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        for line in whole.splitlines():
            with suppress(ValueError, TypeError):  # torn, or of another version
                entries = json.loads(line)
                outcome = Outcome(**{**entries, "notes": tuple(entries.get("notes", ()))})
                if outcome.status != "skipped":
                    self._last[outcome.study_id] = outcome, self._read
        self._read += len(whole)

    def last(self, study_id: str, *, since_start: bool = False) -> Outcome | None:
        """How a study last ended, ok or failed; None if it never did.

        Args:
            study_id: which.
            since_start: only what was written after this record was opened.
        """
        outcome, place = self._last.get(study_id, (None, -1))
        return outcome if not since_start or place >= self._start else None


def now() -> str:
    """The time for ``Outcome.ended``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def fingerprint(models: Sequence[Path], settings: Mapping[str, Any]) -> str:
    """One short text for everything that decides what a segmentation looks like.

    Args:
        models: folders with weights.safetensors and model.json, or run folders that hold them as model/.
        settings: what was asked for beside them, output options included; JSON or things with a telling ``str``.

    Returns:
        32 hexadecimal digits, which change with any byte of the models, any setting and medseg's version.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256(__version__.encode())
    for folder in models:
        if (folder / "model" / "model.json").is_file():
            folder = folder / "model"
        for name in ("model.json", "weights.safetensors"):
            with (folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:32]


def input_digest(study: StudyInput) -> str:
    """Which bytes a study was read from, by the sizes and times of its files and not by reading them.

    Returns:
        32 hexadecimal digits; "" if the input is not there or cannot be looked at. A copied file that kept its time
        is the same input, wherever it lies.
    """
    digest = hashlib.sha256(study.series_uid.encode())
    try:
        folder = stat.S_ISDIR(study.path.stat().st_mode)
        for path in sorted(study.path.rglob("*")) if folder else [study.path]:
            facts = path.stat()
            if stat.S_ISREG(facts.st_mode):
                name = str(path.relative_to(study.path)) if folder else ""
                digest.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode(errors="surrogateescape"))
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return ""
    return digest.hexdigest()[:32]


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        with suppress(OSError):  # a file system without locks: an append of this size is one write anyway
            lock(descriptor, wait=True)
        yield descriptor
    finally:
        os.close(descriptor)
