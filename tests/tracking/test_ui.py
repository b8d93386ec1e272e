import importlib.util
import socket
import sys
from pathlib import Path

import pytest

from medseg.errors import TrackingError
from medseg.tracking import latest_run_url, serve_ui, ui_command
from medseg.tracking.ui import DATABASE


@pytest.mark.parametrize(
    ("uri", "tab", "expected"),
    [
        ("sqlite:////a/mlflow.db", "", "http://127.0.0.1:5000/#/experiments/3/runs/abc?workflowType=machine_learning"),
        (
            "sqlite:////a/mlflow.db",
            "model-metrics",
            "http://127.0.0.1:5000/#/experiments/3/runs/abc/model-metrics?workflowType=machine_learning",
        ),
        (
            "https://mlflow.example.org/",
            "artifacts",
            "https://mlflow.example.org/#/experiments/3/runs/abc/artifacts?workflowType=machine_learning",
        ),
    ],
)
def test_run_url_opens_the_training_view(uri, tab, expected) -> None:
    assert latest_run_url(uri, "abc", "3", tab=tab) == expected


def test_ui_listens_on_this_machine_only_with_one_worker(tmp_path: Path) -> None:
    command, extra = ui_command(tmp_path, port=5123)
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options == {
        "--backend-store-uri": f"sqlite:///{tmp_path}/mlflow.db",
        "--artifacts-destination": f"file://{tmp_path}/mlartifacts",
        "--host": "127.0.0.1",
        "--port": "5123",
        "--workers": "1",
    }
    assert extra == {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def test_relative_runs_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"sqlite:///{tmp_path}/runs/mlflow.db" in ui_command(Path("runs"))[0]


def test_ui_on_a_folder_without_runs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=DATABASE):
        serve_ui(tmp_path)


def test_ui_on_a_taken_port_is_an_error(tmp_path: Path) -> None:
    (tmp_path / DATABASE).touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TrackingError, match=f"127.0.0.1:{port}.*another port"):
            serve_ui(tmp_path, port=port)


def test_ui_without_mlflow_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrackingError, match="pip install"):
        serve_ui(tmp_path)


@pytest.mark.parametrize(("outcome", "status"), [(7, 7), (KeyboardInterrupt(), 0)])
def test_ui_returns_the_servers_status_and_an_interrupt_is_a_normal_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome, status
) -> None:
    (tmp_path / DATABASE).touch()
    monkeypatch.setenv("KEPT", "yes")
    seen = {}

    def run(command, env, check):
        seen.update(env)
        if isinstance(outcome, BaseException):
            raise outcome
        return type("Finished", (), {"returncode": outcome})

    monkeypatch.setattr("medseg.tracking.ui.subprocess.run", run)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert serve_ui(tmp_path, port=port) == status
    assert seen["KEPT"] == "yes"
    assert seen["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
