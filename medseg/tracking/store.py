"""Opening a run: where it is kept, its experiment, and whether it is new or goes on."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import TrackingError
from medseg.tracking.database import prepare_database
from medseg.tracking.environment import environment, git_revision
from medseg.tracking.links import ARTIFACTS, default_uri
from medseg.tracking.mlflow_tracker import FAILURE_TAG, MlflowTracker
from medseg.tracking.records import Tags
from medseg.tracking.tracker import Tracker

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # MLflow would ask a dead server seven times, two minutes each, for every call: training would stand still.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_SERVERS = ("http://", "https://", "databricks", "uc:")

PARENT_ID_TAG = "mlflow.parentRunId"
"""MLflow's tag that puts a run under another."""


@dataclass(frozen=True)
class Store:
    """An MLflow store that has answered.

    Attributes:
        client: an ``mlflow.MlflowClient``.
        uri: its tracking URI.
        artifact_location: where new experiments keep artifacts; None where a tracking server decides.
    """

    client: Any
    uri: str
    artifact_location: str | None


def open_tracker(
    *,
    uri: str | None,
    experiment: str,
    run_name: str,
    folder: Path,
    resume_run_id: str | None = None,
    parent_run_id: str | None = None,
    tags: Mapping[str, str] = {},
) -> Tracker:
    """Start an MLflow run, or go on with one, and write to it directly (``spooled.open_run`` outlives a dead store).

    Several may be open in one process: nothing process-wide is set but MLflow's environment variables, and of those
    only the ones that are not set yet.

    Args:
        uri: tracking URI; None takes MLFLOW_TRACKING_URI, else SQLite in ``folder``.
        experiment: created if missing. Unless a tracking server decides, its artifacts lie in ``folder``/mlartifacts.
        run_name: shown in the UI; a resumed run keeps its own.
        folder: the runs folder; created if missing.
        resume_run_id: an earlier run's id; its status becomes RUNNING and its failure tag goes.
        parent_run_id: the run that this one is shown under (cross-validation).
        tags: added to those of the machine and the code.

    Raises:
        TrackingError: mlflow is not installed, the store does not answer or is not MLflow's, the experiment was
            deleted, or the run to resume is not there.
    """
    store = connect(uri, folder)
    all_tags = run_facts(experiment) | dict(tags)
    if parent_run_id:
        all_tags[PARENT_ID_TAG] = parent_run_id
    with tracking_errors(store.uri):
        if resume_run_id is None:
            run_id, experiment_id = create_run(store, experiment, run_name, all_tags)
            return MlflowTracker(store.client, uri=store.uri, run_id=run_id, experiment_id=experiment_id)
        experiment_id = reopen_run(store, resume_run_id)
        tracker = MlflowTracker(store.client, uri=store.uri, run_id=resume_run_id, experiment_id=experiment_id)
        tracker.note(Tags(all_tags))
        return tracker


def choose_uri(uri: str | None, folder: Path) -> str:
    """The given tracking URI, else MLFLOW_TRACKING_URI, else SQLite in the runs folder."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or default_uri(folder)


def connect(uri: str | None, folder: Path) -> Store:
    """Make a client; a SQLite file is created where it is missing.

    Args:
        uri: see ``choose_uri``.
        folder: the runs folder; created if missing.

    Raises:
        TrackingError: mlflow is not installed, or the store is not MLflow's.
    """
    mlflow = import_mlflow()
    uri = choose_uri(uri, folder)
    with tracking_errors(uri):
        folder.mkdir(parents=True, exist_ok=True)
        prepare_database(uri, (folder.resolve() / ARTIFACTS).as_uri())
        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        return Store(client, uri, _artifact_location(uri, folder))


def create_run(
    store: Store, experiment: str, run_name: str, tags: Mapping[str, str], start_ms: int | None = None
) -> tuple[str, str]:
    """Start a run, in an experiment that is made if missing; returns its id and the experiment's.

    Raises:
        TrackingError: the experiment was deleted.
    """
    experiment_id = _experiment_id(store.client, experiment, store.artifact_location)
    # Client-made runs get the user "unknown"; MLflow's own start_run would write the log-in name.
    run = store.client.create_run(experiment_id, tags=dict(tags), run_name=run_name, start_time=start_ms)
    return str(run.info.run_id), experiment_id


def find_runs(store: Store, experiment: str, tag: str, value: str) -> list[Any]:
    """The experiment's runs with a tag, deleted ones left out; empty where there is no such experiment."""
    known = store.client.get_experiment_by_name(experiment)
    if known is None:
        return []
    return list(store.client.search_runs([known.experiment_id], f"tags.`{tag}` = '{value}'"))


@contextmanager
def tracking_errors(uri: str) -> Iterator[None]:
    """Turn what MLflow and its libraries raise into a TrackingError."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError  # installed with mlflow

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise TrackingError(
            f"MLflow cannot record at {without_password(uri)}: {error}. Check tracking.uri, or switch it off with "
            "`tracking: none`."
        ) from error


def without_password(uri: str) -> str:
    """A URI that may be shown and written down."""
    return re.sub(r"://[^/@]*@", "://", uri)


def import_mlflow() -> Any:
    """The mlflow package, with settings under which a dead server stops nobody.

    Raises:
        TrackingError: it is not installed.
    """
    for key, value in _SETTINGS.items():
        os.environ.setdefault(key, value)
    try:
        import mlflow
    except ImportError as error:
        raise TrackingError(
            "the pipeline asks for tracking, and mlflow cannot be imported "
            f"({error}): pip install 'mlflow>=3.17', or set `tracking: none`."
        ) from error
    # Creating and upgrading the tables is told line by line at INFO.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # A server that is away would be told at every attempt; we say it once.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    return mlflow


def _artifact_location(uri: str, folder: Path) -> str | None:
    """None where a tracking server decides; beside a bare database, MLflow would use each process's ./mlruns."""
    return None if uri.startswith(_SERVERS) else (folder.resolve() / ARTIFACTS).as_uri()


def _experiment_id(client: Any, name: str, artifact_location: str | None) -> str:
    from mlflow.exceptions import MlflowException

    known = client.get_experiment_by_name(name)
    if known is None:
        kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI's view of training runs
        try:
            return str(client.create_experiment(name, artifact_location=artifact_location, tags=kind))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            known = client.get_experiment_by_name(name)  # another process was first
    if known.lifecycle_stage == "deleted":
        raise TrackingError(
            f"experiment {name!r} was deleted in MLflow: `mlflow experiments restore "
            f"--experiment-id {known.experiment_id}` brings it back, or choose another tracking.experiment."
        )
    return str(known.experiment_id)


def get_run(store: Store, run_id: str) -> Any:
    """A run that was made before.

    Raises:
        TrackingError: it is not there, or was deleted.
    """
    from mlflow.exceptions import MlflowException

    try:
        run = store.client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        run = None
    if run is None or run.info.lifecycle_stage == "deleted":
        state = "is not there" if run is None else "was deleted"
        raise TrackingError(
            f"the MLflow run {run_id} to go on with {state} at {without_password(store.uri)}: set tracking.uri to "
            "where it was recorded, restore it, go on with `tracking: none`, or start a new run."
        )
    return run


def reopen_run(store: Store, run_id: str) -> str:
    """Go on with a run: its status becomes RUNNING and its failure tag goes; returns its experiment's id.

    Raises:
        TrackingError: see ``get_run``.
    """
    run = get_run(store, run_id)
    store.client.update_run(run_id, status="RUNNING")
    if FAILURE_TAG in run.data.tags:
        store.client.delete_tag(run_id, FAILURE_TAG)
    return str(run.info.experiment_id)


def run_facts(experiment: str) -> dict[str, str]:
    """Tags that say on what machine and with which code a run is made."""
    facts = environment()
    # MLflow's own keys fill its columns; left alone they would show the script's path and the log-in name.
    tags = {"mlflow.user": "medseg", "mlflow.source.name": experiment, "mlflow.source.type": "LOCAL"}
    tags["medseg.version"] = facts.pop("medseg", "unknown")
    tags |= {f"environment.{key}": value for key, value in facts.items()}
    revision = git_revision(Path(__file__).parent)
    if revision:
        tags |= {"git.revision": revision, "mlflow.source.git.commit": revision.removesuffix("-dirty")}
    return tags
