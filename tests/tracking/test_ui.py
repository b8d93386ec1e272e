import importlib.util
import socket
import sys
from pathlib import Path

import pytest

from medseg.errors import TrackingError
from medseg.tracking import newest_run_url, serve_ui, ui, ui_command
from medseg.tracking.links import DATABASE


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


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def fake_server(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """In the server's place a script, which gets the port as its argument."""

    def command(runs_dir: Path, host: str, port: int) -> tuple[list[str], dict[str, str]]:
        return [sys.executable, "-c", code, str(port)], {"ADDED": "too"}

    monkeypatch.setattr(ui, "ui_command", command)


ANSWERS = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if os.environ["KEPT"] + os.environ["ADDED"] == "yestoo" else 500)
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("said on the way")
server.handle_request()
"""


def test_links_are_given_when_the_server_answers_and_it_is_quiet(
    open_run, runs_dir: Path, port: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog
) -> None:
    newest = open_run(experiment="newest of all")
    monkeypatch.setenv("KEPT", "yes")
    fake_server(monkeypatch, ANSWERS)
    given = []
    assert serve_ui(runs_dir, port=port, on_ready=lambda *links: given.append(links)) == 0
    page = f"http://127.0.0.1:{port}/#/experiments/{newest.experiment_id}/runs/{newest.run_id}"
    assert given == [
        (
            f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning",
            f"{page}?workflowType=machine_learning",
        )
    ]
    assert "said on the way" not in capfd.readouterr().out + caplog.text


def test_server_that_fails_says_why_and_no_link_is_given(
    open_run, runs_dir: Path, port: int, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    open_run()
    fake_server(monkeypatch, "print('no such table: runs'); raise SystemExit(7)")
    given = []
    assert serve_ui(runs_dir, port=port, on_ready=lambda *links: given.append(links)) == 7
    assert given == []
    assert "ended with status 7:\nno such table: runs" in caplog.text


def test_interrupt_is_a_normal_end_and_ends_the_server(
    open_run, runs_dir: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_run()
    monkeypatch.setenv("KEPT", "yes")
    fake_server(monkeypatch, ANSWERS.replace("handle_request()", "serve_forever()"))

    def interrupt(*links: object) -> None:
        raise KeyboardInterrupt

    assert serve_ui(runs_dir, port=port, on_ready=interrupt) == 0
    with socket.socket() as again:
        assert again.connect_ex(("127.0.0.1", port)) != 0  # nobody answers


def test_newest_run_is_the_one_that_started_last_over_all_experiments(open_run, runs_dir: Path) -> None:
    open_run(experiment="first")
    newest = open_run(experiment="second")
    older = open_run(experiment="first")
    older.client.update_run(older.run_id, status="FINISHED")
    assert older.run_id in newest_run_url(runs_dir, 5123)
    older.client.delete_run(older.run_id)
    assert newest_run_url(runs_dir, 5123) == (
        f"http://127.0.0.1:5123/#/experiments/{newest.experiment_id}/runs/{newest.run_id}?workflowType=machine_learning"
    )


def test_folder_without_runs_has_no_newest(tmp_path: Path) -> None:
    assert newest_run_url(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
