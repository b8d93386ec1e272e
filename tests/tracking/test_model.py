import logging
from pathlib import Path

import pytest

import medseg
from medseg.tracking.records import Model


class FakeSegmenter:
    """Writes the weights it was loaded with, so that a test sees which image went where with which weights."""

    def __init__(self, model_dir: Path) -> None:
        self.weights = (model_dir / "weights.safetensors").read_text()

    def segment_file(self, image: Path, output: Path) -> Path:
        output.write_text(f"{self.weights} {image.name}")
        return output


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    (folder / "weights.safetensors").write_text("weights")
    return folder


@pytest.fixture
def load(runs_dir, monkeypatch):
    """Load a recorded model as a user would, with pickles refused."""
    import mlflow

    monkeypatch.setattr(medseg, "load_segmenter", FakeSegmenter)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{runs_dir}/mlflow.db")
    return mlflow.pyfunc.load_model


def test_recorded_model_loads_by_run_and_segments(open_run, load, model_dir, tmp_path) -> None:
    import pandas as pd

    run = open_run()
    run.note(Model(model_dir))
    model = load(f"runs:/{run.run_id}/model")
    assert model.predict(pd.DataFrame({"image": ["a.nii.gz"], "output": [str(tmp_path / "s.nii.gz")]})) == [
        str(tmp_path / "s.nii.gz")
    ]
    assert (tmp_path / "s.nii.gz").read_text() == "weights a.nii.gz"
    (path,) = model.predict("/data/a.nii.gz")
    assert Path(path).read_text() == "weights a.nii.gz"
    assert [Path(p).name for p in model.predict(["b.nii.gz", "c.nii"])] == ["b.nii.gz", "c.nii.gz"]


def test_recorded_model_is_ready_listed_with_its_run_and_names_no_place(open_run, client, runs_dir, model_dir) -> None:
    run = open_run()
    run.note(Model(model_dir, name="best"))
    (output,) = client.get_run(run.run_id).outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert (model.name, str(model.status), model.source_run_id) == ("best", "READY", run.run_id)
    (folder,) = (runs_dir / "mlartifacts" / "models").glob(f"{output.model_id}/artifacts")
    assert (folder / "artifacts" / "model" / "weights.safetensors").read_text() == "weights"
    assert (folder / "pyfunc.py").is_file()
    description = (folder / "MLmodel").read_text()
    assert str(model_dir.parent) not in description
    assert str(Path(__file__).parents[2]) not in description
    assert (folder / "requirements.txt").read_text().split("\n")[1].startswith("medseg")


def test_folder_that_is_no_model_is_a_warning(open_run, tmp_path, caplog, client) -> None:
    run = open_run()
    with caplog.at_level(logging.WARNING, logger="medseg"):
        run.note(Model(tmp_path))
    assert f"expected a model folder with model.json, found none at {tmp_path}" in caplog.text
    assert client.get_run(run.run_id).outputs.model_outputs == []


def test_model_that_could_not_be_stored_is_marked_failed(open_run, client, model_dir, monkeypatch, caplog) -> None:
    run = open_run(experiment="full disk")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(client), "log_model_artifacts", full)
    run.note(Model(model_dir))
    assert "No space left on device" in caplog.text
    (model,) = client.search_logged_models([run.experiment_id])
    assert str(model.status) == "FAILED"
