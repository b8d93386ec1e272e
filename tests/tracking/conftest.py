"""One tracking store for all tests of the folder: creating MLflow's tables takes seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg.tracking import Tracker, open_tracker
from medseg.tracking.ui import default_uri


@pytest.fixture(scope="session")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A space and a percent sign: both are escaped in the artifact folder's URI and must come back.
    return tmp_path_factory.mktemp("tracking") / "my runs 100%"


@pytest.fixture(autouse=True)
def no_store_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def open_run(runs_dir: Path) -> Callable[..., Tracker]:
    def open_run(**changes: Any) -> Tracker:
        arguments: dict[str, Any] = {"uri": None, "experiment": "liver", "run_name": "fold 0", "folder": runs_dir}
        return open_tracker(**(arguments | changes))

    return open_run


@pytest.fixture
def client(runs_dir: Path) -> Any:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=default_uri(runs_dir))
