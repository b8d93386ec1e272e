"""Where a runs folder keeps its MLflow store, and the addresses of runs in the UI."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

DATABASE = "mlflow.db"
"""File in the runs folder that holds runs, parameters and metrics."""

ARTIFACTS = "mlartifacts"
"""Folder in the runs folder that holds artifacts and models."""


def default_uri(runs_dir: Path) -> str:
    """Tracking URI of a runs folder: SQLite at an absolute path, so that it holds from every working directory."""
    return f"sqlite:///{runs_dir.resolve() / DATABASE}"


def latest_run_url(
    uri: str,
    run_id: str,
    experiment_id: str,
    port: int = 5000,
    *,
    tab: Literal["", "model-metrics", "artifacts"] = "",
) -> str:
    """Address of a run's page in the MLflow UI.

    Args:
        uri: tracking URI; an http(s) one is the UI itself, any other is shown by ``serve_ui`` on this machine.
        run_id: MLflow's id of the run.
        experiment_id: MLflow's id of its experiment.
        port: of ``serve_ui``.
        tab: "" is the overview, `model-metrics` the charts, `artifacts` the files.
    """
    base = uri.rstrip("/") if uri.startswith(("http://", "https://")) else f"http://127.0.0.1:{port}"
    page = f"{base}/#/experiments/{experiment_id}/runs/{run_id}"
    # Without the workflow type, MLflow 3 opens in its view of language-model applications.
    return f"{page}{'/' if tab else ''}{tab}?workflowType=machine_learning"


def experiments_url(host: str = "127.0.0.1", port: int = 5000) -> str:
    """Address of the list of experiments."""
    return f"http://{host}:{port}/#/experiments?workflowType=machine_learning"
