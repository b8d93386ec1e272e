"""A recorded model as the plain model folder that it was made from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from medseg.errors import TrackingError
from medseg.tracking.links import DATABASE, default_uri
from medseg.tracking.store import import_mlflow

RUNS = Path("runs")
"""The runs folder whose store is asked where no other is named."""

_PLACE = Path("artifacts", "model")
"""Where the model folder lies in the MLflow model that ``model.log_model`` writes."""


def is_model_uri(text: str) -> bool:
    """Whether a text names a model in MLflow and not a folder."""
    return text.startswith(("models:/", "runs:/"))


def download_model(uri: str, tracking_uri: str | None = None) -> Path:
    """Fetch a model that medseg recorded or that was registered from one; no code of it is run.

    Args:
        uri: ``models:/liver@champion``, ``models:/liver/3``, ``models:/<model id>`` or ``runs:/<run id>/model``.
        tracking_uri: the store; None takes MLFLOW_TRACKING_URI, else the one in ./runs.

    Returns:
        Folder with weights.safetensors and model.json: the store's own where it lies on this machine, else a
        temporary copy.

    Raises:
        TrackingError: mlflow is missing, the store does not answer, it has no such model, or medseg did not make it.
    """
    tracking_uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not tracking_uri:
        if not (RUNS / DATABASE).is_file():
            raise TrackingError(f"{uri}: which MLflow? Set MLFLOW_TRACKING_URI; there is no {RUNS / DATABASE} here")
        tracking_uri = default_uri(RUNS)
    mlflow = import_mlflow()
    from sqlalchemy.exc import SQLAlchemyError  # installed with mlflow

    try:
        client = mlflow.MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        found = mlflow.artifacts.download_artifacts(artifact_uri=_location(client, uri), tracking_uri=tracking_uri)
    except (mlflow.exceptions.MlflowException, SQLAlchemyError, OSError) as error:
        text = " ".join(str(error).split())
        raise TrackingError(
            f"{uri}: no such model at {tracking_uri} ({text}); expected models:/NAME@ALIAS, models:/NAME/VERSION "
            "or runs:/ID/model as the MLflow page of the model shows it"
        ) from error
    folder = Path(found) / _PLACE
    missing = [name for name in ("model.json", "weights.safetensors") if not (folder / name).is_file()]
    if missing:
        raise TrackingError(f"{uri}: not a model that medseg recorded: no {' and no '.join(missing)} in {_PLACE}")
    return folder


def _location(client: Any, uri: str) -> str:
    """Where the artifacts lie; MLflow's own look-up asks the process-wide store, whichever one is named."""
    kind, _, rest = uri.partition(":/")
    name, _, model = rest.partition("/")
    if kind == "models" and "@" in name:
        version = client.get_model_version_by_alias(*name.split("@", 1))
        return _location(client, client.get_model_version_download_uri(version.name, version.version))
    if kind == "models" and model:
        return _location(client, client.get_model_version_download_uri(name, model))
    if kind == "models":
        return str(client.get_logged_model(name).artifact_location)
    if kind == "runs":
        outputs = client.get_run(name).outputs
        models = [client.get_logged_model(o.model_id) for o in (outputs.model_outputs if outputs else ())]
        return next((str(m.artifact_location) for m in models if m.name == model), uri)
    return uri
