"""A run's model as a version of a registered model, with an alias that points at it."""

from __future__ import annotations

from typing import Any


def register_model(client: Any, run_id: str, name: str, alias: str | None = None) -> str:
    """Register the newest model of a run, once.

    Args:
        client: an ``mlflow.MlflowClient``.
        run_id: a run with a model that ``model.log_model`` recorded.
        name: of the registered model; made if missing.
        alias: moved to this version from wherever it pointed before; None leaves all aliases.

    Returns:
        The version's number; the one that the model already has under this name, if it has one.

    Raises:
        FileNotFoundError: the run holds no whole model.
        mlflow.exceptions.MlflowException: the store does not answer or does not take the name.
    """
    model = _newest_model(client, run_id)
    version = _version_of(client, name, model.artifact_location)
    if version is None:
        _make(client, name)
        made = client.create_model_version(name, model.artifact_location, run_id, model_id=model.model_id)
        version = str(made.version)
    if alias:
        client.set_registered_model_alias(name, alias, version)
    return version


def _newest_model(client: Any, run_id: str) -> Any:
    outputs = client.get_run(run_id).outputs
    models = [client.get_logged_model(o.model_id) for o in (outputs.model_outputs if outputs else ())]
    whole = [model for model in models if str(model.status) == "READY"]
    if not whole:
        raise FileNotFoundError(f"run {run_id} has no model to register")
    return max(whole, key=lambda model: int(model.creation_timestamp))


def _version_of(client: Any, name: str, source: str) -> str | None:
    quoted = name.replace("'", "")  # no registered model's name has one
    versions = client.search_model_versions(f"name = '{quoted}'")
    return next((str(v.version) for v in versions if v.source == source), None)


def _make(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
