from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from pydantic import ValidationError

from medseg.config.load import load_pipeline
from medseg.config.schema import PipelineConfig

PIPELINES = Path(__file__).parents[2] / "pipelines"


def pipeline(**sections):
    return PipelineConfig.model_validate(
        {
            "name": "liver",
            "labels": {"liver": [1, 2]},
            "data": {"manifest": "m.csv", "patch_size": [32, 32, 32]},
            "network": {"name": "unet", "channels": [8, 16]},
            **sections,
        }
    )


def test_defaults_make_a_whole_pipeline():
    config = pipeline()
    assert config.data.manifest == Path("m.csv")
    assert config.label_map.names == ("liver",)
    assert [term.name for term in config.training.loss] == ["dice", "cross_entropy"]
    assert config.training.optimizer.name == "sgd"
    assert (config.view.spatial_dims, config.view.in_channels) == (3, 1)


@pytest.mark.parametrize(("mode", "dims", "channels"), [("slice", 2, 1), ("slab", 2, 5)])
def test_the_mode_gives_dimensions_and_channels(mode, dims, channels):
    config = pipeline(data={"manifest": "m.csv", "patch_size": [32, 32], "mode": mode, "slab_neighbours": 2})
    assert (config.view.spatial_dims, config.view.in_channels) == (dims, channels)


def test_a_network_keeps_its_own_options():
    assert pipeline().network.options == {"channels": [8, 16]}


def test_nothing_can_be_changed_afterwards():
    with pytest.raises(ValidationError, match="frozen"):
        pipeline().name = "other"
    with pytest.raises(FrozenInstanceError):
        pipeline().training.epochs = 3


def test_sections_that_contradict_each_other_are_refused():
    with pytest.raises(ValidationError, match=r"data\.patch_size: expected 2 numbers in mode slice, found 3"):
        pipeline(data={"manifest": "m.csv", "patch_size": [8, 8, 8], "mode": "slice"})


def test_a_class_twice_and_tolerances_of_nothing_are_refused():
    with pytest.raises(ValidationError, match="each class once"):
        pipeline(evaluation={"lesions": ["liver", "liver"]})
    with pytest.raises(ValidationError, match=r"evaluation\.tolerance_mm\.liver"):
        pipeline(evaluation={"tolerance_mm": {"liver": 0}})


@pytest.mark.parametrize("name", ["lits", "msd_liver", "quickstart"])
def test_liver_pipelines_score_the_liver_at_7_mm_and_tumours_by_lesions(name):
    options = load_pipeline(PIPELINES / f"{name}.yaml").evaluation.options
    assert (options.tolerance_mm, options.lesions) == ({"liver": 7, "tumour": 2}, ("tumour",))


def test_every_key_has_a_section_that_says_what_it_is():
    schema = PipelineConfig.model_json_schema()
    assert all(definition.get("description") for definition in schema["$defs"].values())


@pytest.mark.parametrize(
    ("tracking", "message"),
    [
        ({"alias": "champion"}, "alias without register_as"),
        ({"register_as": "liver", "alias": "latest"}, "MLflow keeps the alias 'latest' for itself"),
        ({"register_as": "liver", "alias": "v2"}, "MLflow keeps the alias 'v2' for itself"),
        ({"register_as": "liver/tumour"}, "expected a name without"),
    ],
)
def test_names_that_mlflow_would_refuse_after_the_training_are_refused_before_it(tracking, message):
    with pytest.raises(ValidationError, match=message):
        pipeline(tracking=tracking)
