"""Opening a run: where it is kept, its experiment, and whether it is new or goes on."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.errors import TrackingError
from medseg.tracking.database import prepare_database
from medseg.tracking.environment import environment, git_revision
from medseg.tracking.mlflow_tracker import FAILURE_TAG, MlflowTracker
from medseg.tracking.tracker import Tracker
from medseg.tracking.ui import ARTIFACTS, default_uri

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # MLflow would ask a dead server seven times, two minutes each, for every call: training would stand still.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_SERVERS = ("http://", "https://", "databricks", "uc:")

_log = logging.getLogger(__name__)


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
    """Start an MLflow run, or go on with one.

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
    mlflow = import_mlflow()
    from sqlalchemy.exc import SQLAlchemyError  # installed with mlflow

    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or default_uri(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        prepare_database(uri, (folder.resolve() / ARTIFACTS).as_uri())
        client = mlflow.MlflowClient(tracking_uri=uri)
        all_tags = _facts(experiment, parent_run_id) | dict(tags)
        if resume_run_id is None:
            experiment_id = _experiment_id(client, experiment, _artifact_location(uri, folder))
            # Client-made runs get the user "unknown"; MLflow's own start_run would write the log-in name.
            run = client.create_run(experiment_id, tags=all_tags, run_name=run_name)
            return MlflowTracker(client, uri=uri, run_id=run.info.run_id, experiment_id=experiment_id)
        experiment_id = _reopen(client, resume_run_id, uri)
        tracker = MlflowTracker(client, uri=uri, run_id=resume_run_id, experiment_id=experiment_id)
        tracker.set_tags(all_tags)
        return tracker
    except (mlflow.exceptions.MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise TrackingError(
            f"MLflow cannot record at {uri}: {error}. Check tracking.uri, or switch it off with `tracking: none`."
        ) from error


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
    return mlflow


def _artifact_location(uri: str, folder: Path) -> str | None:
    """None where a tracking server decides; beside a bare database, MLflow would use each process's ./mlruns."""
    return None if uri.startswith(_SERVERS) else (folder.resolve() / ARTIFACTS).as_uri()


def _experiment_id(client: Any, name: str, artifact_location: str | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI's view of training runs
        try:
            return str(client.create_experiment(name, artifact_location=artifact_location, tags=kind))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was first
    if found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"experiment {name!r} was deleted in MLflow: `mlflow experiments restore "
            f"--experiment-id {found.experiment_id}` brings it back, or choose another tracking.experiment."
        )
    return str(found.experiment_id)


def _reopen(client: Any, run_id: str, uri: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        run = None
    if run is None or run.info.lifecycle_stage == "deleted":
        state = "is not there" if run is None else "was deleted"
        raise TrackingError(
            f"the MLflow run {run_id} to go on with {state} at {uri}: set tracking.uri to where it was recorded, "
            "restore it, go on with `tracking: none`, or start a new run."
        )
    client.update_run(run_id, status="RUNNING")
    if FAILURE_TAG in run.data.tags:
        client.delete_tag(run_id, FAILURE_TAG)
    return str(run.info.experiment_id)


def _facts(experiment: str, parent_run_id: str | None) -> dict[str, str]:
    facts = environment()
    # MLflow's own keys fill its columns; left alone they would show the script's path and the log-in name.
    tags = {"mlflow.user": "medseg", "mlflow.source.name": experiment, "mlflow.source.type": "LOCAL"}
    tags["medseg.version"] = facts.pop("medseg", "unknown")
    tags |= {f"environment.{key}": value for key, value in facts.items()}
    revision = git_revision(Path(__file__).parent)
    if revision:
        tags |= {"git.revision": revision, "mlflow.source.git.commit": revision.removesuffix("-dirty")}
    if parent_run_id:
        tags["mlflow.parentRunId"] = parent_run_id
    return tags
