"""From a spool into an MLflow store: in order, each record once, as often interrupted as need be."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from medseg.errors import TrackingError
from medseg.tracking.links import latest_run_url
from medseg.tracking.mlflow_tracker import MlflowTracker
from medseg.tracking.records import Metrics, Tags, read_record
from medseg.tracking.spool import Entry, Sent, Spool
from medseg.tracking.store import (
    PARENT_ID_TAG,
    Store,
    choose_uri,
    connect,
    create_run,
    find_runs,
    get_run,
    reopen_run,
    tracking_errors,
    without_password,
)

KEY_TAG = "medseg.key"
"""Tag with a run's own name for itself: a run whose creation was interrupted is found again by it."""

PARENT_TAG = "medseg.parent"
"""Tag with the key of the run that this one belongs under; whichever of the two comes second ties the knot."""

_POINTS_AT_ONCE = 1000

_ATTEMPTS = 5
"""How often a record is tried that an answering store fails on."""

_REFUSALS = frozenset(
    ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST")
)
"""MLflow's words for "never": the record is wrong, or the run was deleted."""

_log = logging.getLogger(__name__)


class AwayError(Exception):
    """The store does not answer now; what is in the spool waits."""


class Sender:
    """Sends one spool; hold ``spool.sending()`` meanwhile.

    Args:
        spool: the run's spool.
        uri: tracking URI; None takes MLFLOW_TRACKING_URI, else SQLite in ``runs_dir``.
        runs_dir: folder of all run folders.
    """

    def __init__(self, spool: Spool, uri: str | None, runs_dir: Path) -> None:
        self.uri = choose_uri(uri, runs_dir)
        self._spool = spool
        self._given_uri = uri
        self._runs_dir = runs_dir
        self._sent = spool.sent
        self._opening = threading.Lock()
        self._tracker: MlflowTracker | None = None
        self._attempts: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    @property
    def run_id(self) -> str | None:
        """The store's id of the run, once it has one."""
        return self._sent.run_id

    @property
    def experiment_id(self) -> str | None:
        """The store's id of the run's experiment, once it has one."""
        return self._sent.experiment_id

    @property
    def url(self) -> str | None:
        """Address of the run's page, once there is one."""
        if self._sent.run_id is None or self._sent.experiment_id is None:
            return None
        return latest_run_url(without_password(self.uri), self._sent.run_id, self._sent.experiment_id)

    @property
    def refused(self) -> str:
        """What the store did not take: "files (1 calls), metrics (3 calls)"; "" if nothing."""
        return ", ".join(f"{call} ({count} calls)" for call, count in sorted(self._refused.items()))

    def waiting(self) -> bool:
        """Whether there are records that were not sent."""
        return bool(self._spool.read(self._sent.offset))

    def open(self) -> MlflowTracker:
        """The run in the store: the one that the spool was sent to before, or a new one.

        Raises:
            AwayError: a server refuses, does not answer in time, or is starting.
            TrackingError: it is no MLflow, its host has no such name, or the run or its experiment was deleted.
        """
        with self._opening:
            if self._tracker is None:
                require_answer(self.uri)
                store = connect(self._given_uri, self._runs_dir)
                with tracking_errors(store.uri):
                    run_id, experiment_id = self._run(store)
                self._tracker = MlflowTracker(
                    store.client, uri=store.uri, run_id=run_id, experiment_id=experiment_id, forgiving=False
                )
            return self._tracker

    def send_some(self) -> bool:
        """Send the next record, or a run of metrics; returns False when there was nothing to send.

        Raises:
            AwayError, TrackingError: see ``open``; nothing was lost, try again later.
        """
        records = self._spool.read(self._sent.offset)
        if not records:
            return False
        tracker = self.open()
        together = _metrics_in_front(records)
        if together:
            points = [point for record in together for point in _points(record)]
            done = self._try(together[0], lambda: tracker.log_points(points))
        else:
            together = records[:1]
            done = self._try(records[0], lambda: self._apply(tracker, records[0]))
        given_up = self._sent.given_up if done else (*self._sent.given_up, *(r.key for r in together))
        self._save(replace(self._sent, offset=together[-1].end, given_up=given_up))
        if done:
            self._release(together)
        return True

    def send_given_up(self) -> None:
        """Try the records again that an answering store did not take before."""
        wanted = set(self._sent.given_up)
        for record in self._spool.all() if wanted else ():
            if record.key in wanted:
                tracker = self.open()
                if self._try(record, lambda: self._apply(tracker, record)):  # noqa: B023  # called at once
                    self._save(replace(self._sent, given_up=tuple(k for k in self._sent.given_up if k != record.key)))
                    self._release([record])

    def _run(self, store: Store) -> tuple[str, str]:
        first = next((r for r in self._spool.all() if r.call == "open"), None)
        if first is None:
            raise TrackingError(f"{self._spool.path} does not say which run it belongs to; it was not made by medseg")
        run_id = self._sent.run_id or first.arguments.get("run_id")
        if run_id:
            experiment_id = str(get_run(store, run_id).info.experiment_id)
        else:
            run_id, experiment_id = self._new_run(store, first)
        self._save(replace(self._sent, run_id=run_id, experiment_id=experiment_id, uri=without_password(store.uri)))
        return run_id, experiment_id

    def _new_run(self, store: Store, first: Entry) -> tuple[str, str]:
        experiment, key, parent = (first.arguments[name] for name in ("experiment", "run_key", "parent"))
        for run in find_runs(store, experiment, KEY_TAG, key):  # made by a process that died before it noted the id
            return str(run.info.run_id), str(run.info.experiment_id)
        tags = {**first.arguments["tags"], KEY_TAG: key}
        if parent:
            tags[PARENT_TAG] = parent
        run_id, experiment_id = create_run(store, experiment, first.arguments["run_name"], tags, first.time_ms)
        # After creating, on both sides: of two runs that are created together one sees the other.
        for run in find_runs(store, experiment, KEY_TAG, parent) if parent else ():
            store.client.set_tag(run_id, PARENT_ID_TAG, run.info.run_id)
        for child in find_runs(store, experiment, PARENT_TAG, key):
            store.client.set_tag(child.info.run_id, PARENT_ID_TAG, run_id)
        return run_id, experiment_id

    def _apply(self, tracker: MlflowTracker, entry: Entry) -> None:
        if entry.call != "open":
            record = read_record(entry.call, entry.arguments, self._spool.file)
            tracker.note(record, time_ms=entry.time_ms, key=entry.key)
        elif entry.arguments["resumed"]:  # a new run got its tags when it was made
            reopen_run(Store(tracker.client, self.uri, None), tracker.run_id)
            tracker.note(Tags(entry.arguments["tags"]))

    def _try(self, record: Entry, send: Callable[[], None]) -> bool:
        """Whether the store took it; False when it never will."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            send()
        except (MlflowException, SQLAlchemyError, TrackingError, OSError, ValueError) as error:
            self._require_alive(error)
            self._attempts[record.key] += 1
            final = isinstance(error, FileNotFoundError | ValueError | TrackingError)
            final = final or getattr(error, "error_code", "") in _REFUSALS
            if not final and self._attempts[record.key] < _ATTEMPTS:
                raise AwayError(f"{record.call}: {error}") from error
            self._refused[record.call] += 1
            if self._refused[record.call] == 1:
                _log.warning("MLflow did not take %s of run %s, going on without: %s", record.call, self.run_id, error)
            return False
        return True

    def _require_alive(self, error: Exception) -> None:
        """Tell a record that the store fails on from a store that is away."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        assert self._tracker is not None
        require_answer(self.uri)
        try:
            self._tracker.client.get_run(self.run_id)
        except MlflowException as second:
            if second.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise AwayError(str(error)) from error
        except (SQLAlchemyError, OSError) as second:
            raise AwayError(str(second)) from error

    def _save(self, sent: Sent) -> None:
        self._spool.sent = sent
        self._sent = sent

    def _release(self, records: list[Entry]) -> None:
        for record in records:
            if "file" in record.arguments:
                self._spool.release(record.arguments["file"])


def require_answer(uri: str, timeout_s: float = 5.0) -> None:
    """Ask a tracking server whether it is there; every other kind of store is left alone.

    Raises:
        AwayError: it refuses, does not answer in time, or says that it cannot now.
        TrackingError: nobody can be asked: no such host name, no such kind of address.
    """
    if not uri.startswith(("http://", "https://")):
        return
    import requests  # installed with mlflow

    shown = without_password(uri)
    try:
        status = requests.get(f"{uri.rstrip('/')}/health", timeout=timeout_s).status_code
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
        if "NameResolutionError" in repr(error) or "NameResolutionError" in str(error):
            raise TrackingError(
                f"no host of this name can be found: {shown}. Check tracking.uri; where there is no network, "
                "`tracking.offline=true` records now and `medseg track-upload` sends later"
            ) from error
        raise AwayError(f"{shown} does not answer") from error
    except (requests.exceptions.RequestException, ValueError) as error:
        raise TrackingError(f"{shown} cannot be asked: {error}. Check tracking.uri") from error
    if status >= 500:
        raise AwayError(f"{shown} answers with status {status}")


def _metrics_in_front(records: list[Entry]) -> list[Entry]:
    """The metrics that the next batch may hold."""
    chosen: list[Entry] = []
    count = 0
    for record in takewhile(lambda r: r.call == Metrics.call, records):
        count += len(record.arguments["metrics"])
        if chosen and count > _POINTS_AT_ONCE:
            break
        chosen.append(record)
    return chosen


def _points(record: Entry) -> list[tuple[str, float, int, int]]:
    metrics: Mapping[str, float] = record.arguments["metrics"]
    return [(name, value, record.time_ms, int(record.arguments["step"])) for name, value in metrics.items()]
