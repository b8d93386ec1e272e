"""`medseg track-upload`: what waits in a run folder, into MLflow, once."""

import pytest

from medseg.errors import TrackingError
from medseg.tracking import upload
from medseg.tracking.records import Metrics
from medseg.tracking.spool import Spool


def test_offline_run_is_uploaded_once_with_its_own_times(open_in, run_folder, client) -> None:
    tracker = open_in(run_folder, offline=True)
    tracker.note(Metrics({"loss": 2.0}, 0))
    tracker.note(Metrics({"loss": 1.0}, 1))
    tracker.finish("FINISHED")
    records = list(Spool(run_folder).all())
    url = upload(run_folder)
    assert upload(run_folder) == url
    run_id = Spool(run_folder).sent.run_id
    assert f"/runs/{run_id}?" in url
    history = client.get_metric_history(run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(0, 2.0), (1, 1.0)]
    assert [m.timestamp for m in history] == [r.time_ms for r in records if r.call == "log_metrics"]
    run = client.get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", run_folder.name)
    assert (run.info.start_time, run.info.end_time) == (records[0].time_ms, records[-1].time_ms)
    assert len(client.search_runs([run.info.experiment_id], f"tags.`medseg.key` = '{tracker.key}'")) == 1


def test_run_that_was_sent_in_part_goes_on_in_its_mlflow_run(open_in, run_folder, client) -> None:
    online = open_in(run_folder)
    online.note(Metrics({"loss": 2.0}, 0))
    online.finish("KILLED", "stopped by SIGTERM")
    offline = open_in(run_folder, offline=True)
    assert offline.run_id == online.run_id
    offline.note(Metrics({"loss": 1.0}, 1))
    offline.finish("FINISHED")
    assert client.get_run(online.run_id).info.status == "KILLED"
    upload(run_folder)
    assert client.get_run(online.run_id).info.status == "FINISHED"
    assert [m.step for m in client.get_metric_history(online.run_id, "loss")] == [0, 1]


def test_upload_of_a_whole_run_changes_nothing(open_in, run_folder, client) -> None:
    tracker = open_in(run_folder)
    tracker.finish("FAILED", "out of memory")
    before = client.get_run(tracker.run_id)
    upload(run_folder)
    after = client.get_run(tracker.run_id)
    assert (after.info.status, after.info.end_time) == ("FAILED", before.info.end_time)
    assert after.data.tags == before.data.tags


def test_killed_run_becomes_killed_at_its_last_record(open_in, run_folder, client) -> None:
    open_in(run_folder, offline=True).note(Metrics({"loss": 1.0}, 0))
    upload(run_folder)
    spool = Spool(run_folder)
    run = client.get_run(spool.sent.run_id)
    assert (run.info.status, run.info.end_time) == ("KILLED", list(spool.all())[-1].time_ms)


def test_store_can_be_named(open_in, run_folder, runs_dir, client, tmp_path) -> None:
    open_in(run_folder, offline=True, uri=f"sqlite:///{tmp_path}/elsewhere.db").finish("FINISHED")
    upload(run_folder, f"sqlite:///{runs_dir}/mlflow.db")
    assert client.get_run(Spool(run_folder).sent.run_id).info.status == "FINISHED"
    assert list(tmp_path.iterdir()) == []


def test_store_that_is_away_keeps_the_spool(open_in, run_folder) -> None:
    open_in(run_folder, offline=True, uri="http://127.0.0.1:9").finish("FINISHED")
    for _ in range(2):
        with pytest.raises(TrackingError, match=r"not all was sent to http://127.0.0.1:9 .*try again"):
            upload(run_folder)
    assert len(list(Spool(run_folder).all())) == 2


def test_another_store_than_the_one_that_has_the_run_is_an_error(open_in, run_folder, tmp_path) -> None:
    open_in(run_folder).finish("FINISHED")
    with pytest.raises(TrackingError, match="is not there at sqlite"):
        upload(run_folder, f"sqlite:///{tmp_path}/mlflow.db")


def test_folder_without_records_is_an_error(tmp_path) -> None:
    with pytest.raises(TrackingError, match=r"nothing to upload: expected .*spool\.jsonl"):
        upload(tmp_path)
