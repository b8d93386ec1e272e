"""A Tracker that writes to one MLflow run through its own client, without MLflow's process-wide active run."""

from __future__ import annotations

import json
import logging
import posixpath
import re
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from medseg.tracking.links import latest_run_url
from medseg.tracking.model import log_model
from medseg.tracking.records import (
    Dataset,
    End,
    File,
    Metrics,
    Model,
    Params,
    Picture,
    Record,
    Registration,
    Status,
    Table,
    Tags,
    plain,
)
from medseg.tracking.register import register_model

# MLflow 3.17's limits (mlflow/utils/validation.py); longer values would be refused with the whole batch.
_PARAM_LENGTH = 6000
_TAG_LENGTH = 8000
_NAME_LENGTH = 250
_DIGEST_LENGTH = 36
_PARAMS_A_BATCH = 100
_METRICS_A_BATCH = 1000

FAILURE_TAG = "medseg.failure"
"""Tag that holds why a run failed."""

_TABLES_TAG = "mlflow.loggedArtifacts"

_log = logging.getLogger(__name__)


class MlflowTracker:
    """One MLflow run.

    Args:
        client: an ``mlflow.MlflowClient``.
        uri: the tracking URI that the client was made with.
        run_id: a run that exists and is RUNNING.
        experiment_id: its experiment.
        key: see ``Tracker.key``.
        forgiving: whether what the store does not take becomes a warning; otherwise its error is raised.
    """

    def __init__(
        self, client: Any, *, uri: str, run_id: str, experiment_id: str, key: str | None = None, forgiving: bool = True
    ) -> None:
        self.client = client
        self._uri = uri
        self.run_id = run_id
        self.experiment_id = experiment_id
        self.key = key
        self._raises = not forgiving
        self._lost: Counter[str] = Counter()

    @property
    def url(self) -> str:
        """Address of the run's page in the UI."""
        return latest_run_url(self._uri, self.run_id, self.experiment_id)

    def note(self, record: Record, *, time_ms: int | None = None, key: str | None = None) -> None:
        """Write one thing down.

        Args:
            record: what.
            time_ms: when it was; now by default. What is sent again with the same time is there once.
            key: the record's own, which a model is found again by.
        """
        match record:
            case Params():
                self._params(record)
            case Metrics():
                at = time_ms or _now_ms()
                self.log_points([(name, value, at, record.step) for name, value in record.finite.items()])
            case Tags():
                self._tags(record)
            case File():
                with self._forgiving("files"):
                    self.client.log_artifact(self.run_id, str(record.file), record.folder or None)
            case Table():
                self._table(record)
            case Picture():
                self._picture(record, time_ms or _now_ms())
            case Dataset():
                self._dataset(record)
            case Model():
                self._model(record, key)
            case Registration():
                with self._forgiving("registered models"):
                    register_model(self.client, self.run_id, record.name, record.alias)
            case End():
                self._end(record, time_ms)

    def finish(self, status: Status, reason: str = "") -> None:
        """End the run, and count what could not be recorded."""
        self.note(End(status, reason))

    def _params(self, record: Params) -> None:
        """Settings under dotted keys; one that was recorded differently before makes its batch a warning."""
        from mlflow.entities import Param

        entries = [Param(_name(key), _cut(_text(value), _PARAM_LENGTH)) for key, value in _flatten(record.params)]
        for batch in _batches(entries, _PARAMS_A_BATCH):
            with self._forgiving("parameters"):
                self.client.log_batch(self.run_id, params=batch)

    def log_points(self, points: Sequence[tuple[str, float, int, int]]) -> None:
        """Record metrics of several steps: name, value, time (ms), step. MLflow keeps equal points once."""
        from mlflow.entities import Metric

        entries = [Metric(_name(key), value, time_ms, step) for key, value, time_ms, step in points]
        for batch in _batches(entries, _METRICS_A_BATCH):
            with self._forgiving("metrics"):
                self.client.log_batch(self.run_id, metrics=batch)

    def _tags(self, record: Tags) -> None:
        from mlflow.entities import RunTag

        entries = [RunTag(_name(key), _cut(str(value), _TAG_LENGTH)) for key, value in record.tags.items()]
        for batch in _batches(entries, _PARAMS_A_BATCH):
            with self._forgiving("tags"):
                self.client.log_batch(self.run_id, tags=batch)

    def _table(self, record: Table) -> None:
        """A table artifact, replacing one of that name (MLflow's own log_table would append after a resume)."""
        with self._forgiving("tables"):
            self.client.log_text(self.run_id, json.dumps(table(record.rows)), record.name)
            tags = self.client.get_run(self.run_id).data.tags
            tables = json.loads(tags.get(_TABLES_TAG, "[]"))
            entry = {"path": record.name, "type": "table"}
            if entry not in tables:
                self.client.set_tag(self.run_id, _TABLES_TAG, json.dumps([*tables, entry]))

    def _picture(self, record: Picture, time_ms: int) -> None:
        """A picture of the image grid; sent again with the same time, it is there once.

        MLflow's own log_image gives every file a random name, so it is its names and its small copy that are made here.
        """
        from mlflow.tracking.multimedia import compress_image_size
        from PIL import Image

        key = _image_key(record.key).replace("/", "~")
        same = uuid.uuid5(uuid.NAMESPACE_OID, f"{self.run_id} {key} {record.step} {time_ms}")
        with self._forgiving("images"), tempfile.TemporaryDirectory(prefix="medseg_") as scratch:
            stem = f"{key}+step+{record.step}+timestamp+{time_ms}+{same}"
            with Image.open(record.file) as picture:
                picture.save(Path(scratch, f"{stem}.png"))
                compress_image_size(picture).save(Path(scratch, f"{stem}+compressed.webp"))
            self.client.log_artifacts(self.run_id, scratch, "images")
            self.client.set_tag(self.run_id, "mlflow.loggedImages", "True")

    def _dataset(self, record: Dataset) -> None:
        """Name the data; MLflow keeps 36 characters of the digest for its lists, the source holds all of it."""
        from mlflow.entities import Dataset as Data
        from mlflow.entities import DatasetInput, InputTag

        data = Data(
            name=record.manifest.stem,
            digest=record.digest[:_DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"manifest": record.manifest.name, "digest": record.digest}),
            profile=json.dumps({"studies": record.n_studies}),
        )
        with self._forgiving("datasets"):
            tags = [InputTag("mlflow.data.context", record.context)]
            self.client.log_inputs(self.run_id, [DatasetInput(data, tags)])

    def _model(self, record: Model, key: str | None) -> None:
        with self._forgiving("models"):
            log_model(
                self.client,
                run_id=self.run_id,
                experiment_id=self.experiment_id,
                model_dir=record.file,
                name=record.name,
                record=key,
            )

    def _end(self, record: End, time_ms: int | None) -> None:
        if record.reason:
            self._tags(Tags({FAILURE_TAG: record.reason[:500]}))
        with self._forgiving("status"):
            self.client.set_terminated(self.run_id, status=record.status, end_time=time_ms)
        if self._lost:
            missing = ", ".join(f"{kind} ({count} calls)" for kind, count in sorted(self._lost.items()))
            _log.warning("MLflow run %s is incomplete, not recorded: %s", self.run_id, missing)

    @contextmanager
    def _forgiving(self, kind: str) -> Iterator[None]:
        from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, OSError) as error:
            if self._raises:
                raise
            self._lost[kind] += 1
            if self._lost[kind] == 1:
                _log.warning("MLflow did not take %s of run %s, going on without: %s", kind, self.run_id, error)


def table(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows in the form of MLflow's tables: all their columns in order of appearance, and gaps null."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return {"columns": columns, "data": [[plain(row.get(key)) for key in columns] for row in rows]}


def _now_ms() -> int:
    return int(time.time() * 1000)


def _flatten(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _batches(entries: Sequence[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(entries)
    while batch := list(islice(rest, size)):
        yield batch


def _name(key: str) -> str:
    """MLflow's names: letters, digits, `_ - . / :` and space, and a path in its shortest form, not from the root."""
    return posixpath.normpath(re.sub(r"[^\w\-./: ]", "_", key).lstrip("/"))[:_NAME_LENGTH]


def _image_key(key: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_\-./ ]", "_", key)


def _text(value: Any) -> str:
    return json.dumps(value, default=str) if isinstance(value, Mapping | list | tuple) else str(value)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
