"""A run's model under a name and an alias, and back as the folder that it was."""

import pytest

from medseg.tracking.links import default_uri
from medseg.tracking.records import Model, Registration
from medseg.tracking.register import register_model
from medseg.tracking.registry import download_model


def test_alias_moves_to_the_newest_run_and_leads_back_to_its_weights(open_run, client, runs_dir, model_dir) -> None:
    runs = []
    for weights in ("first", "second"):
        (model_dir / "weights.safetensors").write_text(weights)
        run = open_run()
        run.note(Model(model_dir))
        run.note(Registration("pancreas", "champion"))
        runs.append(run.run_id)
        folder = download_model("models:/pancreas@champion", default_uri(runs_dir))
        assert (folder / "weights.safetensors").read_text() == weights
    versions = {v.version: v.run_id for v in client.search_model_versions("name = 'pancreas'")}
    assert {str(version): run_id for version, run_id in versions.items()} == {"1": runs[0], "2": runs[1]}
    assert register_model(client, runs[0], "pancreas") == "1"  # again: the same version, and the alias stays
    assert str(client.get_model_version_by_alias("pancreas", "champion").version) == "2"


def test_run_without_a_model_cannot_be_registered(open_run, client, caplog) -> None:
    run = open_run()
    with pytest.raises(FileNotFoundError, match="has no model to register"):
        register_model(client, run.run_id, "spleen")
    run.note(Registration("spleen"))
    assert "did not take registered models" in caplog.text
