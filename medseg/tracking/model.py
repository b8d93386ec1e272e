"""A medseg model folder as an MLflow model, kept beside the run that made it."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

from medseg.tracking.environment import installed_version

CODE = Path(__file__).with_name("pyfunc.py")
"""The script that MLflow runs to load the model."""

_COLUMNS = {"input": "image (path of a NIfTI file), output (path, optional)", "output": "path of the segmentation"}


RECORD_TAG = "medseg.record"
"""Tag of a model that holds which record of a spool it was sent from."""


def log_model(
    client: Any, *, run_id: str, experiment_id: str, model_dir: Path, name: str, record: str | None = None
) -> str:
    """Record a model folder with a run, so that `runs:/<run_id>/<name>` loads.

    Args:
        client: an ``mlflow.MlflowClient``.
        run_id: the run that made the model.
        experiment_id: that run's experiment.
        model_dir: folder with weights.safetensors and model.json.
        name: the model's name in the run.
        record: what the model is sent from; a model that the same record has made before is found again, and what a
            broken attempt left of it is deleted.

    Returns:
        MLflow's id of the model (`models:/<id>` loads it too).

    Raises:
        mlflow.exceptions.MlflowException, OSError: the store or the folder does not answer.
    """
    from mlflow.entities import LoggedModelOutput

    if not (model_dir / "model.json").is_file():
        raise FileNotFoundError(f"expected a model folder with model.json, found none at {model_dir}")
    if record and (whole := _sent_before(client, experiment_id, record)):
        return whole
    # The fluent mlflow.pyfunc.log_model would write to the process-wide tracking URI and run, not to this client's.
    model = client.create_logged_model(
        experiment_id,
        name,
        source_run_id=run_id,
        model_type="segmentation",
        tags={RECORD_TAG: record} if record else None,
    )
    status = "FAILED"
    try:
        with tempfile.TemporaryDirectory(prefix="medseg_") as scratch:
            folder = Path(scratch) / "model"
            _save(folder, model_dir, run_id=run_id, model=model)
            client.log_model_artifacts(model.model_id, str(folder))
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        status = "READY"
    finally:
        client.finalize_logged_model(model.model_id, status)
    return str(model.model_id)


def _sent_before(client: Any, experiment_id: str, record: str) -> str | None:
    whole = None
    for model in client.search_logged_models([experiment_id], filter_string=f"tags.`{RECORD_TAG}` = '{record}'"):
        if str(model.status) == "READY":
            whole = str(model.model_id)
        else:
            client.delete_logged_model(model.model_id)
    return whole


def _save(folder: Path, model_dir: Path, *, run_id: str, model: Any) -> None:
    import mlflow.pyfunc
    from mlflow.models import Model

    version = installed_version("medseg")
    log = logging.getLogger("mlflow.pyfunc")
    log.addFilter(_not_about_signatures)
    description = Model(run_id=run_id, model_id=model.model_id, artifact_path=model.artifact_location)
    try:
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(CODE),
            artifacts={"model": str(model_dir.resolve())},
            # Given, because inferring them would load the model in a second process; medseg brings torch and the rest.
            pip_requirements=[f"medseg=={version}" if version else "medseg"],
            # No signature: with named columns MLflow refuses a bare path, with unnamed ones it drops `output`.
            metadata=_COLUMNS,
            mlflow_model=description,
        )
    finally:
        log.removeFilter(_not_about_signatures)
    # MLflow notes where code and weights came from; loading reads only their names, and paths may hold a user's name.
    flavour = description.flavors["python_function"]
    flavour["model_code_path"] = CODE.name
    flavour["artifacts"]["model"]["uri"] = flavour["artifacts"]["model"]["path"]
    description.save(str(folder / "MLmodel"))


def _not_about_signatures(record: logging.LogRecord) -> bool:
    """Whether a log line is not MLflow's complaint that it cannot find the signature that we leave out on purpose."""
    return "infer model signature" not in record.getMessage()
