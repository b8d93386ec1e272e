"""The tracker of a run: what it costs, what it keeps, and what it does when its store is away."""

import json
import logging
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from medseg.errors import TrackingError
from medseg.tracking import spooled
from medseg.tracking.records import Dataset, File, Metrics, Model, Params, Picture, Table
from medseg.tracking.sender import AwayError, Sender


@pytest.fixture
def dead_uri() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def values(client, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client.get_metric_history(run_id, key)]


def test_everything_reaches_the_store_with_its_time(open_in, run_folder, model_dir, client, runs_dir) -> None:
    from PIL import Image

    picture = run_folder / "overlay.png"
    began_ms = time.time_ns() // 10**6
    tracker = open_in(run_folder, tags={"site": "A"})
    tracker.note(Params({"training": {"epochs": 3}, "seed": None}))
    for step in range(3):
        Image.new("RGB", (8, 6), (step, 0, 0)).save(picture)
        tracker.note(Metrics({"val/dice/liver": step / 4, "val/dice/tumour": float("nan")}, step))
        tracker.note(Picture(picture, "overlay", step))
    tracker.note(Table([{"study_id": "a", "dice": float("nan")}], "studies.json"))
    tracker.note(Dataset(Path("/secret/lits.csv"), "d" * 64, "train", 3))
    tracker.note(File(picture, "overlays"))
    tracker.note(Model(model_dir))
    tracker.finish("FINISHED")

    run = client.get_run(tracker.run_id)
    assert (run.info.run_name, run.info.status) == (run_folder.name, "FINISHED")
    assert run.data.params == {"training.epochs": "3", "seed": "None"}
    assert (run.data.tags["site"], run.data.tags["medseg.key"]) == ("A", tracker.key)
    history = client.get_metric_history(tracker.run_id, "val/dice/liver")
    assert [(m.step, m.value) for m in history] == [(0, 0.0), (1, 0.25), (2, 0.5)]
    assert all(began_ms <= m.timestamp <= run.info.end_time for m in history)
    assert [i.dataset.name for i in run.inputs.dataset_inputs] == ["lits"]
    assert len(run.outputs.model_outputs) == 1
    artifacts = runs_dir / "mlartifacts" / tracker.run_id / "artifacts"
    assert json.loads((artifacts / "studies.json").read_text())["data"] == [["a", None]]
    pictures = sorted((artifacts / "images").glob("*.png"))
    assert [Image.open(path).getpixel((0, 0))[0] for path in pictures] == [0, 1, 2]  # as each was when it was logged
    assert len(list((artifacts / "images").glob("*.webp"))) == 3
    assert f"/runs/{tracker.run_id}" in tracker.url
    assert list((run_folder / "tracking" / "files").iterdir()) == []  # what was sent needs no copy


def test_resume_goes_on_in_the_same_run(open_in, run_folder, client) -> None:
    first = open_in(run_folder)
    first.note(Metrics({"loss": 2.0}, 0))
    first.finish("FAILED", "out of memory")
    second = open_in(run_folder, tags={"resumed": "yes"})
    second.note(Metrics({"loss": 1.0}, 1))
    assert (second.run_id, second.key) == (first.run_id, first.key)
    second.finish("FINISHED")
    run = client.get_run(first.run_id)
    assert run.info.status == "FINISHED"
    assert "medseg.failure" not in run.data.tags
    assert run.data.tags["resumed"] == "yes"
    assert values(client, first.run_id, "loss") == [(0, 2.0), (1, 1.0)]


def test_run_folder_without_a_spool_goes_on_in_the_run_it_names(open_in, open_run, run_folder, client) -> None:
    old = open_run()
    old.finish("KILLED")
    tracker = open_in(run_folder, run_id=old.run_id)
    tracker.note(Metrics({"loss": 1.0}, 1))
    tracker.finish("FINISHED")
    assert tracker.run_id == old.run_id
    assert client.get_run(old.run_id).info.status == "FINISHED"
    assert values(client, old.run_id, "loss") == [(1, 1.0)]


@pytest.mark.parametrize("first", ["parent", "child"])
def test_child_stands_under_its_parent_whichever_is_sent_first(open_in, runs_dir, tmp_path, client, first) -> None:
    folders = {name: runs_dir / "liver" / f"{tmp_path.name} {name}" for name in ("parent", "child")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    parent = open_in(folders["parent"], offline=True)
    open_in(folders["child"], offline=True, parent=parent.key).finish("FINISHED")
    parent.finish("FINISHED")
    ids = {}
    for name in sorted(folders, key=lambda name: name != first):
        tracker = open_in(folders[name], parent=parent.key if name == "child" else None)
        tracker.finish("FINISHED")
        ids[name] = tracker.run_id
    assert client.get_run(ids["child"]).data.tags["mlflow.parentRunId"] == ids["parent"]
    assert "mlflow.parentRunId" not in client.get_run(ids["parent"]).data.tags


def test_server_that_is_away_at_the_start_is_a_warning_and_the_end_does_not_wait(
    open_in, run_folder, dead_uri, caplog
) -> None:
    with caplog.at_level(logging.WARNING, logger="medseg"):
        tracker = open_in(run_folder, uri=dead_uri)
        assert "MLflow is away" in caplog.text
        tracker.note(Metrics({"loss": 1.0}, 0))
        began = time.monotonic()
        tracker.finish("FINISHED")
    assert time.monotonic() - began < 3
    assert (tracker.run_id, tracker.url) == (None, None)
    assert f"send it with: medseg track-upload {run_folder}" in caplog.text


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("nonsense://x", "nonsense://x.*tracking.uri"),
        ("http://no-such-host.invalid:5000", "no host of this name.*tracking.offline"),
        ("http://127.0.0.1:port", "cannot be asked"),
    ],
)
def test_wrong_address_is_an_error_at_once(open_in, run_folder, uri, message) -> None:
    with pytest.raises(TrackingError, match=message):
        open_in(run_folder, uri=uri)


def test_another_kind_of_server_is_an_error_at_once(open_in, run_folder) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Quiet(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        do_POST = do_GET

        def log_message(self, *args) -> None:
            pass

    web = HTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        with pytest.raises(TrackingError, match=r"MLflow cannot record at http://127\.0\.0\.1"):
            open_in(run_folder, uri=f"http://127.0.0.1:{web.server_port}")
    finally:
        web.shutdown()


def test_offline_needs_no_mlflow_and_asks_nobody(tmp_path) -> None:
    code = """
import sys
sys.modules["mlflow"] = None  # importing it fails
from pathlib import Path
from medseg.tracking import TrackingSettings, open_spooled
from medseg.tracking.records import Metrics
folder = Path(sys.argv[1], "liver", "first")
folder.mkdir(parents=True)
settings = TrackingSettings(uri="http://away:1", offline=True, system_metrics=False)
tracker = open_spooled(settings, run_folder=folder, runs_dir=folder.parents[1], experiment="e")
tracker.note(Metrics({"loss": 1.0}, 0))
tracker.finish("FINISHED")
assert tracker.run_id is None and tracker.url is None
print((folder / "tracking/spool.jsonl").read_text().count("\\n"))
"""
    answer = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert answer.stdout == "3\n", answer.stderr
    assert "medseg track-upload" in answer.stderr


def test_training_goes_on_at_once_while_the_store_hangs(open_in, run_folder, monkeypatch, caplog) -> None:
    hangs = threading.Event()
    monkeypatch.setattr(Sender, "send_some", lambda self: hangs.wait(30))
    monkeypatch.setattr(spooled, "_LOCAL_WAIT_S", 0.2)
    tracker = open_in(run_folder)
    began = time.monotonic()
    for step in range(100):
        tracker.note(Metrics({"loss": 1.0}, step))
    tracker.finish("FINISHED")
    assert time.monotonic() - began < 5
    assert "not all of run" in caplog.text
    hangs.set()


def test_store_that_comes_back_gets_everything(open_in, run_folder, client, monkeypatch, caplog) -> None:
    tracker = open_in(run_folder)
    send, away = Sender.send_some, [True, True]

    def send_some(self: Sender) -> bool:
        if away and away.pop():
            raise AwayError("cable pulled")
        return send(self)

    monkeypatch.setattr(Sender, "send_some", send_some)
    with caplog.at_level(logging.INFO, logger="medseg"):
        for step in range(5):
            tracker.note(Metrics({"loss": 1.0}, step))
        end = time.monotonic() + 60
        while "answers again" not in caplog.text and time.monotonic() < end:
            time.sleep(0.05)
        tracker.finish("FINISHED")
    assert [step for step, _ in values(client, tracker.run_id, "loss")] == [0, 1, 2, 3, 4]
    assert caplog.text.count("MLflow is away (cable pulled)") == 1
    assert caplog.text.count("answers again") == 1


def test_what_an_answering_store_refuses_holds_up_nothing(open_in, run_folder, client, caplog) -> None:
    tracker = open_in(run_folder)
    tracker.note(Params({"seed": 1}))
    tracker.note(Params({"seed": 2}))  # MLflow keeps the first
    tracker.note(File(run_folder / "absent.txt"))
    tracker.note(Metrics({"loss": 1.0}, 0))
    tracker.finish("FINISHED")
    assert client.get_run(tracker.run_id).data.params == {"seed": "1"}
    assert values(client, tracker.run_id, "loss") == [(0, 1.0)]
    assert "log_file cannot be noted" in caplog.text
    assert "is incomplete, not recorded: log_params (1 calls)" in caplog.text


def test_finishing_twice_keeps_the_first_end(open_in, run_folder, client) -> None:
    tracker = open_in(run_folder)
    tracker.finish("FINISHED")
    tracker.finish("KILLED", "interrupted")
    assert client.get_run(tracker.run_id).info.status == "FINISHED"


def test_load_of_the_machine_is_recorded_until_the_end(open_in, run_folder, client, monkeypatch) -> None:
    monkeypatch.setattr("medseg.tracking.system_metrics._INTERVAL_S", 0.05)
    tracker = open_in(run_folder, system_metrics=True)
    time.sleep(0.5)
    tracker.finish("FINISHED")
    assert 0 <= client.get_run(tracker.run_id).data.metrics["system/cpu_utilization_percentage"] <= 100
    assert client.get_run(tracker.run_id).data.metrics["system/system_memory_usage_megabytes"] > 0
    assert not [thread for thread in threading.enumerate() if thread.name == "medseg-system-metrics"]


def test_a_line_costs_little(open_in, run_folder) -> None:
    tracker = open_in(run_folder, offline=True)
    began = time.monotonic()
    for step in range(500):
        tracker.note(Metrics({f"val/dice/{k}": 0.5 for k in range(10)}, step))
    assert (time.monotonic() - began) / 500 < 0.02
