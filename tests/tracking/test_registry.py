"""A recorded model comes back as the folder that it was made from, by run, by name and by alias."""

import json
from pathlib import Path

import pytest

from medseg.errors import TrackingError
from medseg.tracking import registry
from medseg.tracking.links import default_uri
from medseg.tracking.records import Model
from medseg.tracking.registry import download_model, is_model_uri


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    (folder / "weights.safetensors").write_text("weights")
    return folder


def test_model_is_found_by_run_name_version_and_alias(open_run, client, runs_dir, model_dir, monkeypatch) -> None:
    run = open_run()
    run.note(Model(model_dir))
    (output,) = client.get_run(run.run_id).outputs.model_outputs
    source = client.get_logged_model(output.model_id).artifact_location
    client.create_registered_model("liver")
    client.create_model_version("liver", source, run.run_id, model_id=output.model_id)
    client.set_registered_model_alias("liver", "champion", "1")
    uri = default_uri(runs_dir)
    names = (f"runs:/{run.run_id}/model", "models:/liver@champion", "models:/liver/1", f"models:/{output.model_id}")
    for name in names:
        folder = download_model(name, uri)
        assert (folder / "weights.safetensors").read_text() == "weights"
        assert json.loads((folder / "model.json").read_text()) == {}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert (download_model(names[1]) / "model.json").is_file()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setattr(registry, "RUNS", runs_dir)
    assert (download_model(names[1]) / "model.json").is_file()


@pytest.mark.parametrize("name", ["models:/kidney@champion", "models:/kidney/1", "runs:/" + "0" * 32 + "/model"])
def test_unknown_model_is_a_clear_error(open_run, runs_dir, name) -> None:
    open_run()
    with pytest.raises(TrackingError, match=f"{name}: no such model at sqlite") as raised:
        download_model(name, default_uri(runs_dir))
    assert "\n" not in str(raised.value)


def test_artifact_that_is_no_medseg_model_is_refused(open_run, client, runs_dir, tmp_path) -> None:
    run = open_run()
    (tmp_path / "notes.txt").touch()
    client.log_artifact(run.run_id, str(tmp_path / "notes.txt"), "model")
    with pytest.raises(TrackingError, match=r"not a model that medseg recorded: no model\.json"):
        download_model(f"runs:/{run.run_id}/model", default_uri(runs_dir))


def test_without_a_store_it_is_asked_for(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrackingError, match="Set MLFLOW_TRACKING_URI"):
        download_model("models:/liver@champion")


@pytest.mark.parametrize(
    ("text", "is_one"), [("models:/a@b", True), ("runs:/1/model", True), ("models/liver", False), ("/m", False)]
)
def test_what_names_a_model_in_mlflow(text, is_one) -> None:
    assert is_model_uri(text) == is_one
