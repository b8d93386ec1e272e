"""Who works on what, where several runs share one output folder.

Every claim is a lock on a small file (see ``locks``), gone when its process ends, however it ends: never stale.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from medseg.files import remove_remains
from medseg.locks import Unlockable, lock

logger = logging.getLogger(__name__)


class Claims:
    """The studies that this run has taken, for the time of a ``with`` block.

    A run that finds itself alone in the folder, on coming and on going, removes what killed runs left half-written.
    Where the file system has no locks every claim is granted, with one warning.

    Args:
        output: the folder; must exist.

    Raises:
        OSError: on entering, the folder cannot be written.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._folder = output / ".claims"
        self._held: dict[str, int] = {}
        self._run: int | None = None

    def __enter__(self) -> Claims:
        path = self._folder / "run"
        try:
            self._run = _locked(path)
            remove_remains(self._output, *([0.0] if self._run is not None else []))
            if self._run is not None:
                # between the two locks another run may come first: it finds nothing of ours yet
                os.close(self._run)
            self._run = _locked(path, shared=True)
        except Unlockable:
            logger.warning("%s: no file locks here; let no two runs share it but with --shard", self._output)
            shutil.rmtree(self._folder, ignore_errors=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for study_id in list(self._held):
            self.release(study_id)
        if self._run is None:
            return
        with suppress(OSError):
            if lock(self._run):
                # the last one out; a run that waits for this lock sees that its file is gone, and makes a new one
                remove_remains(self._output, 0.0)
                shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._run)
        self._run = None

    def take(self, study_id: str) -> bool:
        """Whether the study is now this run's; False while another run has it."""
        if self._run is None:
            return True
        descriptor = _locked(self._place(study_id))
        if descriptor is None:
            return False
        self._held[study_id] = descriptor
        return True

    def release(self, study_id: str) -> None:
        """Let a study go; one that is not held is fine."""
        descriptor = self._held.pop(study_id, None)
        if descriptor is not None:
            self._place(study_id).unlink(missing_ok=True)
            os.close(descriptor)

    def _place(self, study_id: str) -> Path:
        return self._folder / hashlib.sha256(study_id.encode(errors="surrogateescape")).hexdigest()[:32]


def _locked(path: Path, *, shared: bool = False) -> int | None:
    """Open and lock a file, made if absent; waits for a shared lock, and gives None where another process holds it."""
    while True:
        path.parent.mkdir(exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # the last run out has just removed the folder
            continue
        try:
            taken = lock(descriptor, shared=shared, wait=shared)
            if taken and _is_at(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if not taken:
            return None
        # else removed by its former holder between opening and locking


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
