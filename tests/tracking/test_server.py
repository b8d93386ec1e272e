"""A real MLflow server that dies in the middle of a run."""

import logging
import time

import pytest

from medseg.errors import TrackingError
from medseg.tracking import upload
from medseg.tracking.records import Metrics, Model, Picture, Registration
from medseg.tracking.registry import download_model
from medseg.tracking.spool import Spool
from medseg.tracking.store import find_runs

pytestmark = pytest.mark.slow


def sent_steps(server, run_id: str) -> list[int]:
    return [m.step for m in server.client.get_metric_history(run_id, "loss")]


def wait_for(condition, limit_s: float = 60) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def test_server_that_dies_and_returns_has_everything_once_and_training_did_not_wait(
    server, open_in, run_folder, model_dir, caplog
) -> None:
    from PIL import Image

    server.start()
    tracker = open_in(run_folder, uri=server.uri)
    picture = run_folder / "overlay.png"
    slowest = 0.0
    with caplog.at_level(logging.INFO, logger="medseg"):
        for step in range(30):
            if step == 10:
                wait_for(lambda: sent_steps(server, tracker.run_id) == list(range(10)))
                server.kill()
            if step == 20:
                wait_for(lambda: "MLflow is away" in caplog.text)
                server.start()
            Image.new("RGB", (8, 6), (step, 0, 0)).save(picture)
            began = time.monotonic()
            tracker.note(Metrics({"loss": step / 4}, step))
            tracker.note(Picture(picture, "overlay", step))
            slowest = max(slowest, time.monotonic() - began)
        tracker.note(Model(model_dir))
        tracker.note(Registration("liver", "champion"))
        tracker.finish("FINISHED")
    assert slowest < 0.5
    assert "answers again" in caplog.text
    run = server.client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert sent_steps(server, tracker.run_id) == list(range(30))
    pictures = list((server.folder / "mlartifacts").glob(f"*/{tracker.run_id}/artifacts/images/*.png"))
    assert sorted(int(path.name.split("+")[2]) for path in pictures) == list(range(30))
    folder = download_model("models:/liver@champion", server.uri)
    assert (folder / "weights.safetensors").read_text() == "weights"


def test_server_that_stays_away_gets_it_by_upload(server, open_in, run_folder, caplog) -> None:
    server.start()
    tracker = open_in(run_folder, uri=server.uri)
    for step in range(5):
        tracker.note(Metrics({"loss": 1.0}, step))
    wait_for(lambda: len(sent_steps(server, tracker.run_id)) == 5)
    server.kill()
    for step in range(5, 10):
        tracker.note(Metrics({"loss": 1.0}, step))
    wait_for(lambda: "MLflow is away" in caplog.text)
    began = time.monotonic()
    tracker.finish("FINISHED")
    assert time.monotonic() - began < 3
    with pytest.raises(TrackingError, match="try again"):
        upload(run_folder)
    server.start()
    for _ in range(2):
        assert upload(run_folder) == tracker.url
    assert sent_steps(server, tracker.run_id) == list(range(10))
    assert server.client.get_run(tracker.run_id).info.status == "FINISHED"


def test_server_that_comes_later_gets_a_run_that_began_without_it(server, open_in, run_folder) -> None:
    tracker = open_in(run_folder, uri=server.uri)
    tracker.note(Metrics({"loss": 1.0}, 0))
    assert tracker.run_id is None
    server.start()
    tracker.finish("FINISHED")
    assert tracker.run_id == Spool(run_folder).sent.run_id
    assert sent_steps(server, tracker.run_id) == [0]
    assert server.uri in tracker.url


def test_points_that_are_sent_twice_are_there_once(server, open_in, run_folder) -> None:
    """What idempotent sending stands on: a server keeps equal points once, in one batch and over two."""
    server.start()
    tracker = open_in(run_folder, uri=server.uri)
    direct = tracker._sender.open()
    points = [("loss", 0.5, 1_700_000_000_000, 1), ("loss", 0.25, 1_700_000_001_000, 2)]
    direct.log_points([*points, points[0]])
    direct.log_points([points[1], ("loss", 0.125, 1_700_000_002_000, 3)])
    history = server.client.get_metric_history(tracker.run_id, "loss")
    assert sorted((m.step, m.value) for m in history) == [(1, 0.5), (2, 0.25), (3, 0.125)]
    tracker.finish("FINISHED")


def test_offline_children_and_parent_are_tied_on_the_server(server, open_in, runs_dir, tmp_path) -> None:
    from medseg.tracking.store import connect

    folders = {name: runs_dir / "liver" / f"{tmp_path.name} {name}" for name in ("cv", "fold 0", "fold 1")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    parent = open_in(folders["cv"], offline=True)
    for name in ("fold 0", "fold 1"):
        open_in(folders[name], offline=True, parent=parent.key).finish("FINISHED")
    parent.finish("FINISHED")
    server.start()
    for name in ("fold 0", "cv", "fold 1"):
        upload(folders[name], server.uri)
    store = connect(server.uri, runs_dir)
    found = find_runs(store, "liver", "mlflow.parentRunId", Spool(folders["cv"]).sent.run_id)
    assert sorted(run.info.run_name[-6:] for run in found) == ["fold 0", "fold 1"]
