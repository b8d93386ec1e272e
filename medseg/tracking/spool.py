"""The book of a run in its own folder, before any store has it: nothing is lost, whoever dies.

<run folder>/tracking/
  spool.jsonl    one record a line, appended only; a line that a kill tore is passed over
  files/         copies of small files, each in a folder of its own until it is sent
  sent.json      how far a store has it, and as which run
  lock           held by the process that sends

Writing a record is one append, without MLflow: what it costs does not depend on the store.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from medseg.errors import TrackingError
from medseg.files import atomic_path
from medseg.locks import append_whole, lock

FOLDER = "tracking"
"""Name of the spool's folder in a run folder."""

_COPIED_BYTES = 32 * 2**20
"""Up to this size a file is copied, for it may be overwritten before it is sent; larger ones stay in their place."""

_FLUSHED_EVERY_S = 5.0
"""A killed process loses nothing that was appended; a machine without power at most this much."""

_READ_BYTES = 2**20

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One line: a record (see ``records``) or an ``open``.

    Attributes:
        call: the kind of the record; ``open`` for the beginning of a run and of every resume.
        arguments: its fields, as JSON knows them.
        key: unlike every other record's.
        time_ms: when it was noted.
        end: where in the spool the next record begins, in bytes.
    """

    call: str
    arguments: Mapping[str, Any]
    key: str
    time_ms: int
    end: int


@dataclass(frozen=True)
class Sent:
    """What a store has of a spool.

    Attributes:
        offset: bytes of the spool that were sent.
        run_id: the store's id of the run; None before it has one.
        experiment_id: its experiment's.
        uri: where that is, without a password.
        given_up: keys of records that an answering store did not take; ``upload`` tries them again.
    """

    offset: int = 0
    run_id: str | None = None
    experiment_id: str | None = None
    uri: str | None = None
    given_up: tuple[str, ...] = ()


class Spool:
    """The spool of a run folder; may be written from several threads.

    Args:
        run_folder: the run's folder; the spool's own is made when the first record comes.
    """

    def __init__(self, run_folder: Path) -> None:
        self.run_folder = run_folder
        self.folder = run_folder / FOLDER
        self.path = self.folder / "spool.jsonl"
        self._write = threading.Lock()
        self._flushed = 0.0
        self._lost: Counter[str] = Counter()

    def append(self, call: str, **arguments: Any) -> bool:
        """Add a record; what cannot be written (a full disk) becomes one warning a kind of call.

        Returns:
            Whether it was written.
        """
        entry = {"call": call, "key": secrets.token_hex(8), "time_ms": time.time_ns() // 10**6, "arguments": arguments}
        line = json.dumps(entry, default=_jsonable).encode() + b"\n"
        try:
            with self._write:
                self._append(line, flush=call == "finish")
        except OSError as error:
            self.lost(call, error)
            return False
        return True

    def lost(self, call: str, error: Exception) -> None:
        """Say once a kind of call that it could not be written down."""
        self._lost[call] += 1
        if self._lost[call] == 1:
            _log.warning("%s cannot be noted in %s, going on without: %s", call, self.folder, error)

    def keep(self, path: Path) -> str:
        """Make sure that a file can be sent later as it is now.

        Returns:
            Where ``file`` finds it: a small file's copy, or the place of a larger one or of a folder.

        Raises:
            OSError: there is no such file, or it cannot be copied.
        """
        if path.is_dir() or path.stat().st_size > _COPIED_BYTES:
            return os.path.relpath(path, self.folder) if path.is_relative_to(self.run_folder) else str(path.resolve())
        copy = self.folder / "files" / secrets.token_hex(8) / path.name
        copy.parent.mkdir(parents=True)
        shutil.copyfile(path, copy)
        return str(copy.relative_to(self.folder))

    def file(self, reference: str) -> Path:
        """The file or folder that ``keep`` gave a reference for."""
        return Path(os.path.normpath(self.folder / reference))

    def release(self, reference: str) -> None:
        """Remove a copy that is not needed any more; a file in its own place stays."""
        copy = self.file(reference)
        if copy.is_relative_to(self.folder / "files"):
            shutil.rmtree(copy.parent, ignore_errors=True)

    def read(self, offset: int = 0) -> list[Entry]:
        """The records that begin at a place, about a megabyte of them; empty at the end, or without a spool."""
        if not self.path.is_file():
            return []
        records: list[Entry] = []
        with self.path.open("rb") as file:
            file.seek(offset)
            while not records and (lines := file.readlines(_READ_BYTES)):
                for line in lines:
                    offset += len(line)
                    if line.endswith(b"\n") and (record := _parsed(line, offset)):  # else being written, or torn
                        records.append(record)
        return records

    def all(self) -> Iterator[Entry]:
        """Every record from the first on."""
        offset = 0
        while records := self.read(offset):
            yield from records
            offset = records[-1].end

    @property
    def sent(self) -> Sent:
        """What a store has of it."""
        path = self.folder / "sent.json"
        if not path.is_file():
            return Sent()
        values = json.loads(path.read_text())
        return Sent(**(values | {"given_up": tuple(values["given_up"])}))

    @sent.setter
    def sent(self, value: Sent) -> None:
        with atomic_path(self.folder / "sent.json") as path:
            path.write_text(json.dumps(asdict(value), indent=1) + "\n")

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Be the only process that sends; a killed one's lock is gone with it.

        Raises:
            TrackingError: another process is sending.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("wb") as file:
            _lock(file, self.run_folder)
            yield

    def _append(self, line: bytes, *, flush: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            append_whole(descriptor, line)
            if flush or time.monotonic() - self._flushed > _FLUSHED_EVERY_S:
                os.fsync(descriptor)
                self._flushed = time.monotonic()
        finally:
            os.close(descriptor)


def _parsed(line: bytes, end: int) -> Entry | None:
    try:
        entry = json.loads(line)
        return Entry(entry["call"], entry["arguments"], entry["key"], entry["time_ms"], end)
    except (ValueError, KeyError, TypeError, RecursionError):
        if line.strip():
            _log.warning("a torn record of %d bytes before byte %d of the spool is passed over", len(line), end)
        return None


def _jsonable(value: Any) -> Any:
    item = getattr(value, "item", None)
    return item() if callable(item) else str(value)


def _lock(file: BinaryIO, run_folder: Path) -> None:
    try:
        # not inherited: forked data loaders may outlive the run
        taken = lock(file.fileno(), inherited=False)
    except OSError as error:  # no locks here
        _log.warning("%s cannot be locked (%s): let no two processes send it", run_folder, error)
        return
    if not taken:
        raise TrackingError(
            f"{run_folder} is being recorded by another process, which sends all of it; wait until it has ended"
        )
