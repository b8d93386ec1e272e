"""What recording costs a training loop, beside writing to MLflow directly, where the store is there and where it dies.

    python bench/tracking.py

A mock training of 50 epochs (each a pause, ten class-wise metrics and every tenth a picture) is recorded in SQLite, in
a live `mlflow server`, and in one that is killed after a third and returns after two thirds. `added_s` is what the
epochs took beyond their pauses, `finish_s` the end's waiting. At last all points are counted.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import ROOT, Entry, circumstances

from medseg.files import atomic_path
from medseg.tracking import Tracker, TrackingSettings, open_spooled, open_tracker, ui_command, upload
from medseg.tracking.links import default_uri
from medseg.tracking.records import Metrics, Picture
from medseg.tracking.spool import Spool
from medseg.tracking.store import connect

EPOCHS = 50
PAUSE_S = 0.2
CLASSES = 10
PICTURE_EVERY = 10
RESULTS = ROOT / "bench" / "results" / "tracking.json"


class Server:
    """`mlflow server` on a folder, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        connect(None, folder)
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
            start_new_session=True,
        )

    def wait(self) -> None:
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                    return
            except OSError:
                time.sleep(0.1)

    def kill(self) -> None:
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def train(tracker: Tracker, picture: Path, at_epoch: dict[int, Callable[[], None]]) -> Entry:
    """The mock loop; ``at_epoch`` is what happens to the server meanwhile, which is not counted."""
    calls = []
    for epoch in range(EPOCHS):
        at_epoch.get(epoch, lambda: None)()
        time.sleep(PAUSE_S)
        metrics = {f"val/dice/class_{k}": (epoch + k) / 100 for k in range(CLASSES)}
        began = time.perf_counter()
        tracker.note(Metrics(metrics, epoch))
        calls.append(time.perf_counter() - began)
        if epoch % PICTURE_EVERY == 0:
            began = time.perf_counter()
            tracker.note(Picture(picture, "overlay", epoch))
            calls[-1] += time.perf_counter() - began
    began = time.perf_counter()
    tracker.finish("FINISHED")
    return {
        "added_s": round(sum(calls), 3),
        "median_ms": round(1000 * statistics.median(calls), 2),
        "slowest_ms": round(1000 * max(calls), 1),
        "finish_s": round(time.perf_counter() - began, 2),
    }


def points(folder: Path, run_id: str | None) -> int:
    client = connect(None, folder).client
    if run_id is None:
        return 0
    return sum(len(client.get_metric_history(run_id, f"val/dice/class_{k}")) for k in range(CLASSES))


def measure_one(how: str, store: str, scratch: Path) -> Entry:
    from PIL import Image

    picture = scratch / "overlay.png"
    Image.effect_noise((512, 512), 80).save(picture)
    folder = scratch / f"{how} {store}"
    run_folder = folder / "mock" / "run"
    run_folder.mkdir(parents=True)
    server = Server(folder)
    if store != "sqlite":
        server.start()
        server.wait()
    uri = default_uri(folder) if store == "sqlite" else server.uri
    at_epoch = {}
    if store == "dies":
        at_epoch[EPOCHS // 3] = server.kill
    if store == "dies and returns":
        at_epoch = {EPOCHS // 3: server.kill, 2 * EPOCHS // 3: server.start}
    try:
        tracker: Any
        if how == "spooled":
            settings = TrackingSettings(uri=uri, system_metrics=False)
            tracker = open_spooled(settings, run_folder=run_folder, runs_dir=folder, experiment="mock")
        else:
            tracker = open_tracker(uri=uri, experiment="mock", run_name="run", folder=folder)
        entry = train(tracker, picture, at_epoch)
        entry["points"] = points(folder, tracker.run_id)
        if how == "spooled":
            if store == "dies":
                server.start()
            if store != "sqlite":
                server.wait()
            upload(run_folder)
            upload(run_folder)
            entry["points_after_upload"] = points(folder, Spool(run_folder).sent.run_id)
    finally:
        server.kill()
    entry["points_logged"] = EPOCHS * CLASSES
    return entry


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("medseg").setLevel(logging.ERROR)
    entries: dict[str, Entry] = {}
    print(f"{'how':<10}{'store':<18}{'added s':>9}{'median ms':>11}{'slowest ms':>12}{'finish s':>10}{'points':>18}")
    with tempfile.TemporaryDirectory(prefix="medseg_") as scratch:
        for store in ("sqlite", "server", "dies and returns", "dies"):
            for how in ("direct", "spooled"):
                entry = entries[f"{how}, {store}"] = measure_one(how, store, Path(scratch))
                arrived = entry.get("points_after_upload", entry["points"])
                print(
                    f"{how:<10}{store:<18}{entry['added_s']:>9.3f}{entry['median_ms']:>11.2f}{entry['slowest_ms']:>12.1f}"
                    f"{entry['finish_s']:>10.2f}{arrived:>10} of {entry['points_logged']}",
                    flush=True,
                )
    setting = {"epochs": EPOCHS, "pause_s": PAUSE_S, "metrics_an_epoch": CLASSES, "picture_every": PICTURE_EVERY}
    with atomic_path(RESULTS) as path:
        path.write_text(json.dumps({**circumstances("cpu"), "setting": setting, "entries": entries}, indent=1) + "\n")


if __name__ == "__main__":
    main()
