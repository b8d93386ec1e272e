"""The MLflow UI on a runs folder, and its newest run."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from medseg.errors import TrackingError
from medseg.tracking.links import ARTIFACTS, DATABASE, default_uri, experiments_url, latest_run_url
from medseg.tracking.store import connect, tracking_errors

_SHOWN_LINES = 20

_log = logging.getLogger(__name__)


def ui_command(runs_dir: Path, host: str = "127.0.0.1", port: int = 5000) -> tuple[list[str], dict[str, str]]:
    """Command that serves the UI.

    Args:
        runs_dir: folder of all run folders.
        host: address to listen on; the UI has no log-in, so other machines are let in only on purpose.
        port: TCP port.

    Returns:
        The argument list, and the environment variables to add to this process's own.
    """
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", default_uri(runs_dir)]
    command += ["--artifacts-destination", (runs_dir.resolve() / ARTIFACTS).as_uri()]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    # The job runner belongs to language-model scoring; without it the server takes 0.5 GB instead of 1.4.
    return command, {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def newest_run_url(runs_dir: Path, port: int = 5000) -> str | None:
    """Address of the run that was started last, over all experiments; None where there is none.

    Args:
        runs_dir: folder of all run folders.
        port: of ``serve_ui``.

    Raises:
        TrackingError: mlflow is not installed, or the database cannot be read.
    """
    if not (runs_dir / DATABASE).is_file():
        return None
    store = connect(default_uri(runs_dir), runs_dir)
    with tracking_errors(store.uri):
        experiments = [experiment.experiment_id for experiment in store.client.search_experiments()]
        newest = store.client.search_runs(experiments, order_by=["attributes.start_time DESC"], max_results=1)
    return latest_run_url(store.uri, newest[0].info.run_id, newest[0].info.experiment_id, port) if newest else None


def serve_ui(
    runs_dir: Path,
    host: str = "127.0.0.1",
    port: int = 5000,
    on_ready: Callable[[str, str | None], None] = lambda experiments, newest: None,
) -> int:
    """Serve the UI until it is interrupted; what the server says is shown only if it fails.

    Args:
        runs_dir: folder of all run folders.
        host: address to listen on.
        port: TCP port.
        on_ready: called once the server answers, with the addresses of the experiments and of the newest run.

    Returns:
        Exit status of the server; 0 when it was interrupted from the keyboard.

    Raises:
        TrackingError: mlflow is not installed, the folder holds no recorded run, or the port is taken.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise TrackingError("the UI needs mlflow, which is not installed: pip install 'mlflow>=3.17'")
    if not (runs_dir / DATABASE).is_file():
        raise TrackingError(
            f"no recorded runs: expected {runs_dir / DATABASE}; run a pipeline first, or name its runs_dir"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise TrackingError(f"cannot listen on {host}:{port} ({error.strerror}); choose another port") from error
    command, extra = ui_command(runs_dir, host, port)
    with tempfile.TemporaryFile() as said:
        server = subprocess.Popen(command, env={**os.environ, **extra}, stdout=said, stderr=subprocess.STDOUT)
        try:
            newest = newest_run_url(runs_dir, port)  # while the server starts
            if _wait_until_up(server, f"http://{host}:{port}/health"):
                on_ready(experiments_url(host, port), newest)
            status = server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            server.terminate()
            server.wait()
        if status:
            said.seek(0)
            last = said.read().decode(errors="replace").splitlines()[-_SHOWN_LINES:]
            _log.error("the MLflow server ended with status %d:\n%s", status, "\n".join(last))
        return status


def _wait_until_up(server: subprocess.Popen[bytes], address: str) -> bool:
    """Whether the server has answered before it ended."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while server.poll() is None:
        try:
            with direct.open(address, timeout=1.0):
                return True
        except OSError:
            time.sleep(0.2)
    return False
