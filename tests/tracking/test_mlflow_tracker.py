import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medseg.tracking.records import Dataset, File, Metrics, Params, Picture, Table, Tags


@pytest.fixture
def run(open_run):
    return open_run()


def artifacts(runs_dir: Path, tracker) -> Path:
    return runs_dir / "mlartifacts" / tracker.run_id / "artifacts"


def test_params_get_dotted_keys(run, client) -> None:
    run.note(
        Params({"training": {"epochs": 3, "loss": [{"name": "dice"}]}, "augmentation": {}, "fold": 0, "seed": None})
    )
    assert client.get_run(run.run_id).data.params == {
        "training.epochs": "3",
        "training.loss": '[{"name": "dice"}]',
        "augmentation": "{}",
        "fold": "0",
        "seed": "None",
    }


def test_long_param_is_cut_to_the_limit(run, client) -> None:
    run.note(Params({"values": "x" * 7000}))
    value = client.get_run(run.run_id).data.params["values"]
    assert len(value) == 6000
    assert value.endswith("x...")


def test_more_params_than_one_batch_takes_all_arrive(run, client) -> None:
    run.note(Params({f"key_{i}": i for i in range(230)}))
    assert len(client.get_run(run.run_id).data.params) == 230


def test_metrics_keep_names_values_and_steps(run, client) -> None:
    run.note(Metrics({"val/dice/liver": 0.5, "learning_rate": 0.01}, step=1))
    run.note(Metrics({"val/dice/liver": np.float32(0.75)}, step=2))
    history = client.get_metric_history(run.run_id, "val/dice/liver")
    assert [(m.step, m.value) for m in history] == [(1, 0.5), (2, 0.75)]
    assert client.get_run(run.run_id).data.metrics == {"val/dice/liver": 0.75, "learning_rate": 0.01}


def test_metrics_that_are_not_finite_are_left_out(run, client) -> None:
    run.note(Metrics({"val/dice/tumour": float("nan"), "train/loss": float("inf"), "val/dice/liver": 1.0}, step=0))
    assert client.get_run(run.run_id).data.metrics == {"val/dice/liver": 1.0}


def test_class_names_that_mlflow_refuses_are_rewritten(run, client) -> None:
    run.note(Metrics({"val/dice/tumour (left)": 0.5, "/val//iou": 0.25}, step=0))
    assert client.get_run(run.run_id).data.metrics == {"val/dice/tumour _left_": 0.5, "val/iou": 0.25}


def test_finish_sets_the_status_and_the_reason(run, client) -> None:
    run.finish("FAILED", "StudyError: study 7 is truncated" + "." * 1000)
    ended = client.get_run(run.run_id)
    assert ended.info.status == "FAILED"
    assert ended.info.end_time is not None
    assert ended.data.tags["medseg.failure"].startswith("StudyError: study 7")
    assert len(ended.data.tags["medseg.failure"]) == 500


def test_finish_without_a_reason_leaves_no_failure_tag(run, client) -> None:
    run.finish("FINISHED")
    ended = client.get_run(run.run_id)
    assert ended.info.status == "FINISHED"
    assert "medseg.failure" not in ended.data.tags


def test_files_become_artifacts(run, runs_dir, tmp_path) -> None:
    (tmp_path / "report.html").write_text("<p>report</p>")
    run.note(File(tmp_path / "report.html"))
    run.note(File(tmp_path / "report.html", folder="reports"))
    folder = artifacts(runs_dir, run)
    assert (folder / "report.html").is_file()
    assert (folder / "reports" / "report.html").is_file()


def test_table_has_mlflows_form_and_gaps_are_null(run, runs_dir) -> None:
    rows = [{"study_id": "a", "dice": np.float64(0.5)}, {"study_id": "b", "dice": float("nan"), "voxels": np.int64(3)}]
    run.note(Table(rows, "evaluation.json"))
    path = artifacts(runs_dir, run) / "evaluation.json"
    assert json.loads(path.read_text()) == {
        "columns": ["study_id", "dice", "voxels"],
        "data": [["a", 0.5, None], ["b", None, 3]],
    }
    assert pd.read_json(path, orient="split")["study_id"].tolist() == ["a", "b"]  # how mlflow.load_table reads it


def test_table_logged_again_replaces_the_first_and_is_listed_once(run, runs_dir, client) -> None:
    run.note(Table([{"dice": 0.1}], "evaluation.json"))
    run.note(Table([{"dice": 0.9}], "evaluation.json"))
    run.note(Table([], "empty.json"))
    assert json.loads((artifacts(runs_dir, run) / "evaluation.json").read_text())["data"] == [[0.9]]
    listed = json.loads(client.get_run(run.run_id).data.tags["mlflow.loggedArtifacts"])
    assert [entry["path"] for entry in listed] == ["evaluation.json", "empty.json"]


def test_image_stands_in_the_grid_under_its_key_and_step(run, runs_dir, tmp_path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 6), (255, 0, 0)).save(tmp_path / "overlay.png")
    run.note(Picture(tmp_path / "overlay.png", key="overlay/best (1)", step=4))
    (picture,) = (artifacts(runs_dir, run) / "images").glob("*.png")
    assert picture.name.startswith("overlay~best _1_+step+4+")
    assert Image.open(picture).size == (8, 6)


def test_dataset_names_the_manifest_without_its_folder(run, client) -> None:
    run.note(Dataset(Path("/secret/place/lits.csv"), digest="d" * 64, context="training", n_studies=131))
    (entry,) = client.get_run(run.run_id).inputs.dataset_inputs
    assert entry.dataset.name == "lits"
    assert entry.dataset.digest == "d" * 36
    assert json.loads(entry.dataset.source) == {"manifest": "lits.csv", "digest": "d" * 64}
    assert json.loads(entry.dataset.profile) == {"studies": 131}
    assert [(tag.key, tag.value) for tag in entry.tags] == [("mlflow.data.context", "training")]


def test_url_points_to_the_run(run) -> None:
    assert f"/#/experiments/{run.experiment_id}/runs/{run.run_id}?workflowType=machine_learning" in run.url


def test_store_that_dies_costs_a_warning_a_kind_and_never_raises(run, monkeypatch, caplog, tmp_path) -> None:
    from mlflow.exceptions import MlflowException

    def dead(*args, **kwargs):
        raise MlflowException("connection refused")

    monkeypatch.setattr(type(run.client), "log_batch", dead)
    with caplog.at_level(logging.WARNING, logger="medseg"):
        for step in range(3):
            run.note(Metrics({"train/loss": 1.0}, step=step))
        run.note(Tags({"a": "b"}))
        run.note(File(tmp_path / "absent.txt"))
        assert len(caplog.records) == 3
        assert "did not take metrics" in caplog.text
        assert "connection refused" in caplog.text
        run.finish("FINISHED")
    assert "not recorded: files (1 calls), metrics (3 calls), tags (1 calls)" in caplog.records[-1].getMessage()
