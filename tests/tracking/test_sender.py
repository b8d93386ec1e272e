"""From the spool into the store: interrupted anywhere, sent again, and everything is there once."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from medseg.errors import TrackingError
from medseg.tracking import upload
from medseg.tracking.records import Dataset, File, Metrics, Model, Params, Picture, Registration, Table
from medseg.tracking.sender import AwayError, Sender, require_answer
from medseg.tracking.spool import Sent, Spool


@pytest.fixture
def recorded(open_in, run_folder, model_dir) -> Spool:
    """A spool with one of every call, not sent."""
    from PIL import Image

    Image.new("RGB", (8, 6)).save(run_folder / "overlay.png")
    tracker = open_in(run_folder, offline=True, tags={"site": "A"})
    tracker.note(Params({"seed": 1}))
    tracker.note(Metrics({"loss": 2.0, "dice": 0.5}, 0))
    tracker.note(Metrics({"loss": 1.0}, 1))
    tracker.note(Picture(run_folder / "overlay.png", "overlay", 1))
    tracker.note(File(run_folder / "overlay.png"))
    tracker.note(Table([{"iou": 0.25}], "more.json"))
    tracker.note(Table([{"dice": 0.5}], "studies.json"))
    tracker.note(Dataset(Path("lits.csv"), "d" * 64, "train", 3))
    tracker.note(Model(model_dir))
    tracker.note(Registration(f"liver-{run_folder.name}", "champion"))
    tracker.finish("FINISHED")
    return Spool(run_folder)


def book(client, runs_dir: Path, run_id: str) -> dict[str, object]:
    """All that the store has of a run, times included."""
    run = client.get_run(run_id)
    artifacts = runs_dir / "mlartifacts" / run_id / "artifacts"
    return {
        "params": run.data.params,
        "tags": run.data.tags,
        "points": {
            k: [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run_id, k)] for k in ("loss", "dice")
        },
        "files": sorted(str(p.relative_to(artifacts)) for p in artifacts.rglob("*") if p.is_file()),
        "datasets": [(d.dataset.name, [t.value for t in d.tags]) for d in run.inputs.dataset_inputs],
        "models": [m.model_id for m in run.outputs.model_outputs],
        "logged": [
            m.model_id for m in client.search_logged_models([run.info.experiment_id]) if m.source_run_id == run_id
        ],
        "versions": [(v.name, v.version) for v in client.search_model_versions(f"run_id = '{run_id}'")],
        "end": (run.info.status, run.info.start_time, run.info.end_time),
    }


def test_all_of_it_sent_again_from_the_start_changes_nothing(recorded, client, runs_dir, run_folder) -> None:
    files = run_folder / "tracking" / "files"
    kept = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
    upload(run_folder)
    run_id = recorded.sent.run_id
    first = book(client, runs_dir, run_id)
    assert first["points"]["loss"][0][:2] == (0, 2.0)
    assert len(first["models"]) == len(first["logged"]) == len(first["versions"]) == 1
    assert len(first["files"]) == 5  # the picture twice in the grid, itself, the text and the table
    for path, content in kept.items():  # as if the copies had not been removed yet
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    recorded.sent = Sent()  # as if nothing of it had been noted: the run is found by its key
    upload(run_folder)
    assert recorded.sent.run_id == run_id
    assert book(client, runs_dir, run_id) == first


@pytest.mark.parametrize("call", ["log_metrics", "log_image", "log_model", "register_model", "finish"])
def test_death_between_sending_and_noting_it_leaves_nothing_twice(
    recorded, client, runs_dir, run_folder, monkeypatch, call
) -> None:
    """Every step is done, then the process dies before it can write down how far it came."""
    save = Sender._save

    class Died(BaseException):
        pass

    reached = {record.end: record.call for record in recorded.all()}

    def die(self: Sender, sent: Sent) -> None:
        if reached.get(sent.offset) == call:
            raise Died
        save(self, sent)

    monkeypatch.setattr(Sender, "_save", die)
    with pytest.raises(Died):
        upload(run_folder)
    monkeypatch.setattr(Sender, "_save", save)
    upload(run_folder)
    found = book(client, runs_dir, recorded.sent.run_id)
    assert [point[:2] for point in found["points"]["loss"]] == [(0, 2.0), (1, 1.0)]
    assert len(found["models"]) == len(found["logged"]) == len(found["versions"]) == 1
    assert len(found["files"]) == 5
    assert found["end"][0] == "FINISHED"


def test_run_that_was_made_but_not_noted_is_found_again(recorded, client, run_folder, monkeypatch) -> None:
    class Died(BaseException):
        pass

    def die(self: Sender, sent: Sent) -> None:
        raise Died

    monkeypatch.setattr(Sender, "_save", die)
    with pytest.raises(Died):
        Sender(recorded, None, run_folder.parents[1]).open()
    monkeypatch.undo()
    upload(run_folder)
    key = next(iter(recorded.all())).arguments["run_key"]
    experiment = client.get_experiment_by_name("liver").experiment_id
    assert len(client.search_runs([experiment], f"tags.`medseg.key` = '{key}'")) == 1


def test_model_that_was_half_sent_is_sent_again_and_its_half_goes(
    recorded, client, runs_dir, run_folder, monkeypatch
) -> None:
    class Died(BaseException):
        pass

    def die(*args) -> None:
        raise Died

    monkeypatch.setattr(type(client), "log_model_artifacts", die)
    with pytest.raises(Died):
        upload(run_folder)
    monkeypatch.undo()
    upload(run_folder)
    found = book(client, runs_dir, recorded.sent.run_id)
    assert len(found["models"]) == len(found["logged"]) == 1
    assert str(client.get_logged_model(found["models"][0]).status) == "READY"


def test_record_that_fails_on_an_answering_store_is_given_up_after_some_attempts(
    recorded, client, run_folder, monkeypatch, caplog
) -> None:
    from mlflow.exceptions import MlflowException

    def full(*args, **kwargs):
        raise MlflowException("no space left on the server")

    monkeypatch.setattr(type(client), "log_text", full)
    sender = Sender(recorded, None, run_folder.parents[1])
    attempts = 0
    while sender.waiting():
        try:
            sender.send_some()
        except AwayError:
            attempts += 1
    assert attempts == 2 * 4  # the two tables, four times each before the last
    assert sender.refused == "log_table (2 calls)"
    assert len(recorded.sent.given_up) == 2
    assert client.get_run(sender.run_id).info.status == "FINISHED"
    monkeypatch.undo()
    upload(run_folder)
    assert recorded.sent.given_up == ()


def test_record_of_a_newer_medseg_is_refused_by_name(recorded, run_folder, caplog) -> None:
    recorded.append("log_video", name="x")
    with pytest.raises(TrackingError, match=r"did not take everything: log_video"):
        upload(run_folder)
    assert "does not know" in caplog.text


def test_many_metrics_go_in_large_batches_and_in_order(open_in, run_folder, client, monkeypatch) -> None:
    tracker = open_in(run_folder, offline=True)
    for step in range(600):
        tracker.note(Metrics({"loss": step / 8, "dice": 1.0, "iou": 0.5}, step))
    tracker.finish("FINISHED")
    sender = Sender(Spool(run_folder), None, run_folder.parents[1])
    batches = 0
    while sender.send_some():
        batches += 1
    assert batches == 1 + 2 + 1  # 1800 points, at most 1000 at once
    history = client.get_metric_history(sender.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(step, step / 8) for step in range(600)]


def test_deleted_run_is_an_error_that_says_so(recorded, client, run_folder) -> None:
    upload(run_folder)
    client.delete_run(recorded.sent.run_id)
    with pytest.raises(TrackingError, match=r"was deleted .*restore"):
        upload(run_folder)


def test_server_that_is_starting_or_silent_is_away() -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(AwayError, match="does not answer"):
            require_answer(uri, timeout_s=0.2)
    with pytest.raises(AwayError, match="does not answer"):
        require_answer(uri)
    require_answer("sqlite:////anywhere.db")


TRAINING = """
import sys, time
from pathlib import Path
from medseg.tracking import TrackingSettings, open_spooled, spooled
from medseg.tracking.records import Metrics, Table
from medseg.tracking.sender import Sender
folder = Path(sys.argv[1])
if sys.argv[2] == "slow":
    send = Sender.send_some
    Sender.send_some = lambda self: (time.sleep(0.3), send(self))[1]
settings = TrackingSettings(system_metrics=False)
tracker = open_spooled(settings, run_folder=folder, runs_dir=folder.parents[1], experiment="liver")
print(tracker.run_id, flush=True)
first = int(sys.argv[3])
for step in range(first, first + 20):
    tracker.note(Metrics({"loss": step / 4}, step))
    tracker.note(Table([{"step": step}], f"notes/{step}.json"))
print("written", flush=True)
time.sleep(60 if sys.argv[2] == "slow" else 0)
tracker.finish("FINISHED")
"""


def test_kill_between_writing_and_sending_loses_nothing_and_resume_goes_on(client, runs_dir, run_folder) -> None:
    from medseg.tracking.store import connect

    connect(None, runs_dir)

    def train(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", TRAINING, str(run_folder), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    killed = train("slow", "0")
    run_id = killed.stdout.readline().strip()
    assert killed.stdout.readline() == "written\n"
    time.sleep(0.5)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert len(client.get_metric_history(run_id, "loss")) < 20
    assert client.get_run(run_id).info.status == "RUNNING"
    resumed = train("quick", "20")
    assert resumed.stdout.readline().strip() == run_id
    assert resumed.wait() == 0
    history = client.get_metric_history(run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(step, step / 4) for step in range(40)]
    notes = runs_dir / "mlartifacts" / run_id / "artifacts" / "notes"
    assert sorted(int(path.stem) for path in notes.iterdir()) == list(range(40))
    assert client.get_run(run_id).info.status == "FINISHED"


def test_sent_state_is_replaced_whole(recorded) -> None:
    recorded.sent = Sent(5, "run")
    recorded.sent = replace(recorded.sent, offset=9)
    assert recorded.sent == Sent(9, "run")
    assert not [path for path in recorded.folder.iterdir() if path.name.startswith(".")]
