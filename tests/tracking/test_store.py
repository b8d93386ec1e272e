import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medseg.errors import TrackingError
from medseg.tracking import open_tracker
from medseg.tracking.environment import environment
from medseg.tracking.records import Metrics, Table
from medseg.tracking.store import _artifact_location


def test_new_run_is_running_named_and_tagged(open_run, client) -> None:
    tracker = open_run(run_name="first", tags={"site": "A"})
    run = client.get_run(tracker.run_id)
    assert run.info.status == "RUNNING"
    assert run.info.run_name == "first"
    assert run.data.tags["site"] == "A"
    assert run.data.tags["environment.python"] == environment()["python"]
    assert run.data.tags["medseg.version"]


def test_a_run_names_neither_the_user_nor_the_script(open_run, client) -> None:
    tags = client.get_run(open_run().run_id).data.tags
    assert tags["mlflow.user"] == "medseg"
    assert tags["mlflow.source.name"] == "liver"
    assert not [value for value in tags.values() if str(Path.home()) in value and Path.home() != Path("/")]


def test_database_and_artifacts_lie_in_the_runs_folder_and_nothing_elsewhere(
    open_run, client, runs_dir, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = open_run()
    tracker.note(Table([{"dice": 0.5}], "table.json"))
    assert (runs_dir / "mlflow.db").is_file()
    assert (runs_dir / "mlartifacts" / tracker.run_id / "artifacts" / "table.json").is_file()
    assert list(tmp_path.iterdir()) == []


def test_environment_variable_names_the_store_when_the_pipeline_does_not(
    open_run, client, runs_dir, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{runs_dir}/mlflow.db")
    tracker = open_run(folder=tmp_path / "elsewhere")
    assert client.get_run(tracker.run_id).info.status == "RUNNING"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_tracking_server_chooses_its_own_artifact_folder(tmp_path) -> None:
    assert _artifact_location("https://mlflow.example.org", tmp_path) is None
    assert _artifact_location("postgresql://host/db", tmp_path) == f"file://{tmp_path}/mlartifacts"


def test_resume_goes_on_in_the_same_run(open_run, client) -> None:
    first = open_run()
    first.note(Metrics({"train/loss": 2.0}, step=0))
    first.finish("FAILED", "killed")
    second = open_run(resume_run_id=first.run_id, run_name="other", tags={"resumed": "yes"})
    second.note(Metrics({"train/loss": 1.0}, step=1))
    run = client.get_run(first.run_id)
    assert second.run_id == first.run_id
    assert run.info.status == "RUNNING"
    assert run.info.run_name == "fold 0"
    assert "medseg.failure" not in run.data.tags
    assert run.data.tags["resumed"] == "yes"
    assert [m.value for m in client.get_metric_history(first.run_id, "train/loss")] == [2.0, 1.0]


def test_resume_of_a_missing_run_says_what_to_do(open_run) -> None:
    with pytest.raises(TrackingError, match=r"0123abcd.* is not there .*tracking\.uri"):
        open_run(resume_run_id="0123abcd" * 4)


def test_resume_of_a_deleted_run_says_what_to_do(open_run, client) -> None:
    tracker = open_run()
    client.delete_run(tracker.run_id)
    with pytest.raises(TrackingError, match=r"was deleted .*restore"):
        open_run(resume_run_id=tracker.run_id)


def test_child_runs_stand_under_their_parent(open_run, client) -> None:
    parent = open_run(run_name="cross-validation")
    child = open_run(run_name="fold 1", parent_run_id=parent.run_id)
    found = client.search_runs([child.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.run_id}'")
    assert [run.info.run_id for run in found] == [child.run_id]


def test_runs_that_start_together_share_a_new_experiment(open_run, client) -> None:
    open_run()  # the tables exist
    with ThreadPoolExecutor(4) as pool:
        trackers = list(pool.map(lambda i: open_run(experiment="together", run_name=str(i)), range(4)))
    assert len({tracker.experiment_id for tracker in trackers}) == 1
    assert len({tracker.run_id for tracker in trackers}) == 4


def test_experiment_that_another_process_created_meanwhile_is_used(open_run, client, monkeypatch) -> None:
    tracker = open_run(experiment="raced")
    found, looks = client.get_experiment(tracker.experiment_id), iter([None])
    monkeypatch.setattr(type(client), "get_experiment_by_name", lambda self, name: next(looks, found))
    assert open_run(experiment="raced").experiment_id == tracker.experiment_id


def test_deleted_experiment_is_an_error_that_names_it(open_run, client) -> None:
    tracker = open_run(experiment="binned")
    client.delete_experiment(tracker.experiment_id)
    with pytest.raises(TrackingError, match=f"'binned' was deleted.*--experiment-id {tracker.experiment_id}"):
        open_run(experiment="binned")


def test_missing_mlflow_names_both_ways_out(open_run, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(TrackingError, match=r"pip install.*tracking: none"):
        open_run()


def test_folder_that_cannot_be_made_is_an_error(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrackingError, match="tracking: none"):
        open_tracker(uri=None, experiment="liver", run_name="run", folder=tmp_path / "file" / "runs")


def test_store_that_mlflow_does_not_know_is_an_error(tmp_path) -> None:
    with pytest.raises(TrackingError, match=r"nonsense://x.*tracking\.uri"):
        open_tracker(uri="nonsense://x", experiment="liver", run_name="run", folder=tmp_path)
