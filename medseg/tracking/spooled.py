"""The Tracker of a training run: it writes into the run's folder, and a thread passes it on to MLflow."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from medseg.errors import TrackingError
from medseg.tracking.records import End, Metrics, Record, Status
from medseg.tracking.sender import AwayError, Sender, require_answer
from medseg.tracking.settings import TrackingSettings
from medseg.tracking.spool import Spool
from medseg.tracking.store import run_facts, without_password
from medseg.tracking.system_metrics import SystemMetrics
from medseg.tracking.tracker import Tracker

_LONGEST_PAUSE_S = 30.0

_SERVER_WAIT_S = 30.0
"""How long the end of a run waits for an answering server."""

_LOCAL_WAIT_S = 300.0
"""The same for a database and a folder: sending is copying, and it comes to its end."""

_log = logging.getLogger(__name__)


def open_spooled(
    settings: TrackingSettings,
    *,
    run_folder: Path,
    runs_dir: Path,
    experiment: str,
    run_id: str | None = None,
    parent: str | None = None,
    tags: Mapping[str, str] = {},
) -> Tracker:
    """Begin the record of a run, or go on with the one that its folder holds.

    Args:
        settings: where it is recorded, or that it is only written down (``offline``: neither mlflow nor the store is
            touched), whether the machine's load is recorded, and further tags.
        run_folder: the run's folder; its name is the run's in MLflow.
        runs_dir: folder of all run folders.
        experiment: created if missing; in place of none in the settings.
        run_id: the MLflow run of a folder that has no spool yet.
        parent: ``Tracker.key`` of the run that this one is shown under.
        tags: added to those of the machine and the code.

    Returns:
        A tracker whose records cost one line in a file. If a server is away, a warning says so, and what is recorded
        reaches it when it is back, or by ``upload``.

    Raises:
        TrackingError: mlflow is not installed, the store is not MLflow's or its host has no such name, the experiment
            or the run to go on with was deleted, or another process records this run. Not with ``offline``.
    """
    experiment = settings.experiment or experiment
    spool = Spool(run_folder)
    before = next((record for record in spool.all() if record.call == "open"), None)
    key = str(before.arguments["run_key"]) if before else uuid.uuid4().hex
    with ExitStack() as stack:
        stack.enter_context(spool.sending())
        spool.append(
            "open",
            experiment=experiment,
            run_name=run_folder.name,
            run_key=key,
            run_id=run_id,
            parent=parent,
            tags=run_facts(experiment) | dict(tags) | dict(settings.tags),
            resumed=bool(before or run_id),
            uri=settings.uri,
        )
        sender = None if settings.offline else Sender(spool, settings.uri, runs_dir)
        away = ""
        if sender:
            try:
                sender.open()
            except AwayError as error:
                away = str(error)
        start_ms = before.time_ms if before else time.time_ns() // 10**6
        tracker = SpoolingTracker(spool, key, sender, away=away, held=stack.pop_all())
    if settings.system_metrics:
        tracker.watch(SystemMetrics(start_s=start_ms / 1000))
    return tracker


class SpoolingTracker:
    """Writes every record into the spool; with a sender, a thread of its own passes it on.

    Args:
        spool: the run's; its first record is there.
        key: see ``Tracker.key``.
        sender: None keeps everything in the spool.
        away: why the sender's store does not answer, "" if it does.
        held: what ends with the record, such as the lock on the spool.
    """

    def __init__(self, spool: Spool, key: str, sender: Sender | None, *, away: str = "", held: ExitStack) -> None:
        self.key = key
        self._spool = spool
        self._sender = sender
        self._held = held
        self._finished = False
        self._system: SystemMetrics | None = None
        self._away = bool(away)
        self._written = threading.Event()
        self._ending = threading.Event()
        self._stopped = threading.Event()
        self._again = threading.Event()
        self._thread: threading.Thread | None = None
        if sender is None:
            _log.warning("tracking is offline: %s", _how_to_send(spool))
            return
        if away:
            self._warn_of(away)
        self._thread = threading.Thread(target=self._send, name="medseg-tracking", daemon=True)
        self._thread.start()

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None as long as no store has it."""
        return self._sender.run_id if self._sender else self._spool.sent.run_id

    @property
    def url(self) -> str | None:
        """Address of the run's page; None as long as no store has it."""
        return self._sender.url if self._sender else None

    def watch(self, system: SystemMetrics) -> None:
        """Record the machine's load until the end of the run."""
        self._system = system
        system.start(lambda metrics, step: self.note(Metrics(metrics, step)))

    def note(self, record: Record) -> None:
        """Write a record down with the time; its file is kept as it is now (above 32 MiB: as it is when it is sent)."""
        if isinstance(record, Metrics) and not record.finite:
            return
        arguments = record.arguments()
        if "file" in arguments:
            try:
                arguments["file"] = self._spool.keep(arguments["file"])
            except OSError as error:
                self._spool.lost(record.call, error)
                return
        if self._spool.append(record.call, **arguments):
            self._written.set()

    def finish(self, status: Status, reason: str = "") -> None:
        """Note the end, and give the store a bounded time to take the rest; without an answer, none.

        A second call does nothing: an interrupt while the first waits does not change how the run ended.
        """
        if self._finished:
            return
        self._finished = True
        if self._system:
            self._system.stop()
        self.note(End(status, reason))
        try:
            if self._thread and self._sender:
                self._wait(self._thread, self._sender)
        finally:
            self._stopped.set()
            self._held.close()

    def _wait(self, thread: threading.Thread, sender: Sender) -> None:
        server = sender.uri.startswith(("http://", "https://"))
        self._ending.set()
        self._written.set()
        if not self._away or (server and _answers(sender.uri)):
            self._again.set()
            thread.join(_SERVER_WAIT_S if server else _LOCAL_WAIT_S)
        if sender.waiting():
            _log.warning("not all of run %s has reached MLflow: %s", sender.run_id or "", _how_to_send(self._spool))
        elif sender.refused:
            _log.warning("MLflow run %s is incomplete, not recorded: %s", sender.run_id, sender.refused)

    def _send(self) -> None:
        assert self._sender is not None
        pause_s = 1.0
        while not self._stopped.is_set():
            self._written.clear()  # before looking: what is written meanwhile wakes the next look
            try:
                sent = self._sender.send_some()
            except (AwayError, TrackingError) as error:
                if not self._away:
                    self._away = True
                    self._warn_of(str(error))
                self._again.wait(pause_s)
                if self._ending.is_set() and not self._again.is_set():
                    return
                self._again.clear()
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            except Exception:  # a mistake of ours or of a library: it must be seen, and training must go on
                _log.exception(
                    "the records of %s are not sent any more; %s", self._spool.folder, _how_to_send(self._spool)
                )
                return
            if sent and self._away:
                _log.info("MLflow at %s answers again", without_password(self._sender.uri))
                self._away, pause_s = False, 1.0
            if not sent:
                if self._ending.is_set():
                    return
                self._written.wait()

    def _warn_of(self, why: str) -> None:
        _log.warning(
            "MLflow is away (%s): the run goes on, its records wait in %s and are sent when it is back",
            why,
            self._spool.folder,
        )


def _answers(uri: str) -> bool:
    try:
        require_answer(uri, timeout_s=1.0)
    except (AwayError, TrackingError):
        return False
    return True


def _how_to_send(spool: Spool) -> str:
    return f"the rest waits in {spool.folder}; send it with: medseg track-upload {spool.run_folder}"
