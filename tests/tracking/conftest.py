"""One tracking store for all tests of the folder: creating MLflow's tables takes seconds."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medseg.tracking import Tracker, TrackingSettings, open_spooled, open_tracker
from medseg.tracking.links import default_uri
from medseg.tracking.ui import ui_command


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
def run_folder(runs_dir: Path, tmp_path: Path) -> Path:
    """A new run folder in the runs folder, two levels down as all are."""
    folder = runs_dir / "liver" / tmp_path.name
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def open_in(runs_dir: Path) -> Callable[..., Tracker]:
    """Open the tracker of a run folder, as a pipeline does."""

    def open_in(run_folder: Path, **changes: Any) -> Tracker:
        own = {key: changes.pop(key) for key in ("uri", "offline") if key in changes}
        settings = TrackingSettings(**{"system_metrics": changes.pop("system_metrics", False), **own})
        arguments: dict[str, Any] = {"runs_dir": runs_dir, "experiment": "liver"}
        return open_spooled(settings, run_folder=run_folder, **(arguments | changes))

    return open_in


@pytest.fixture
def model_dir(run_folder: Path) -> Path:
    folder = run_folder / "model"
    folder.mkdir()
    (folder / "model.json").write_text("{}")
    (folder / "weights.safetensors").write_text("weights")
    return folder


@pytest.fixture
def client(runs_dir: Path) -> Any:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=default_uri(runs_dir))


class Server:
    """A real `mlflow server` on a folder of its own, which can be killed and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command, extra = ui_command(self.folder, port=self.port)
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **extra},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # its workers die with it
        )
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("the MLflow server did not start")

    def kill(self) -> None:
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    @property
    def client(self) -> Any:
        """Reads the server's database, whether it runs or not."""
        import mlflow

        return mlflow.MlflowClient(tracking_uri=default_uri(self.folder))


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that is not started yet."""
    from medseg.tracking.store import connect

    folder = tmp_path_factory.mktemp("server")
    connect(None, folder)
    made = Server(folder)
    yield made
    made.kill()
