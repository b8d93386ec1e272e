"""model.json, of this version and of those before, and all that is refused in one."""

import json
from typing import Any

import pytest

from medseg.errors import CheckpointError
from medseg.model.classes import Classes
from medseg.model.crf import CRF
from medseg.model.inference import Inference, Locate
from medseg.model.postprocess import Inside, PostProcessing
from medseg.model.spec import MODEL_FORMAT, ModelSpec, from_entries, to_entries
from medseg.model.view import View
from medseg.transforms.settings import Preprocessing

FULL = ModelSpec(
    network="unet",
    options={"channels": [2, 4], "dropout": None},
    classes=Classes(("liver", "tumour")),
    view=View("slab", 2),
    preprocessing=Preprocessing((1.5, None, 3.0), (-50.0, 150.0), crop_to_body=False, antialias=False),
    inference=Inference(
        window_size=(8, 12),
        overlap=0.75,
        placement="steps",
        blending="constant",
        batch_size=7,
        flip_axes=("R", "A"),
        scales=(0.75, 1.0),
        scale_fusion="max",
        crf=CRF(iterations=4).filled(2),
        locate=Locate(model="locate", classes=("liver",)),
        memory_gib=2.5,
        postprocess=PostProcessing(
            {"tumour": 0.3}, {"tumour": Inside(("liver",), 5.0)}, ("liver",), (), {"liver": 1.0}
        ),
    ),
)

# The same model as the first format had it.
FORMAT_1 = {
    "format": 1,
    "network": "unet",
    "options": {"channels": [2, 4], "dropout": None},
    "spatial_dims": 2,
    "in_channels": 5,
    "class_names": ["liver", "tumour"],
    "mode": "slab",
    "slab_neighbours": 2,
    "preprocessing": {
        "spacing_mm": [1.5, None, 3],
        "intensity_range_hu": [-50.0, 150.0],
        "crop_to_body": False,
        "antialias": False,
        "convention": "medseg",
    },
    "inference": {
        "size": [8, 12, 1],
        "overlap": 0.75,
        "placement": "steps",
        "blending": "constant",
        "batch_size": 7,
        "flip_axes": [0, 1],
        "scales": [0.75, 1.0],
        "scale_fusion": "max",
        "crf": {
            "iterations": 4,
            "smoothness_weight": 3.0,
            "smoothness_mm": 3.0,
            "appearance_weight": 5.0,
            "appearance_mm": 50.0,
            "appearance_intensity": 10.0,
            "axes": 2,
        },
        "locate": {
            "model": "locate",
            "spacing_mm": 5.0,
            "classes": ["liver"],
            "margin_mm": 20.0,
            "minimum_ml": 5.0,
            "largest_share": 0.7,
        },
        "memory_gib": 2.5,
        "postprocess": {
            "thresholds": {"tumour": 0.3},
            "inside": {"tumour": {"of": ["liver"], "margin_mm": 5.0}},
            "keep_largest": ["liver"],
            "fill_holes": [],
            "minimum_ml": {"liver": 1.0},
        },
    },
}

# The first of all: windows, and beside them what is kept.
OLDEST = {
    "format": 1,
    "network": "unet",
    "options": {"channels": [2, 4]},
    "spatial_dims": 3,
    "in_channels": 1,
    "class_names": ["liver", "tumour"],
    "mode": "patch",
    "slab_neighbours": 0,
    "preprocessing": {"spacing_mm": [6.0, 6.0, None], "intensity_range_hu": [-100.0, 240.0]},
    "inference": {"size": [16, 16, 16], "overlap": 0.25, "flip_axes": [0, 2], "keep_largest": ["liver"]},
}


def read(entries: Any) -> ModelSpec:
    return from_entries(json.loads(json.dumps(entries)), "m/model.json")


def test_an_unchanged_model_comes_back_from_its_file() -> None:
    entries = to_entries(FULL)
    assert entries["format"] == MODEL_FORMAT
    assert entries["inference"]["locate"]["model"] == "locate"
    assert read(entries) == FULL


def test_the_first_format_is_the_same_model() -> None:
    assert read(FORMAT_1) == FULL


def test_the_first_of_all_models_is_read_with_the_defaults_of_what_it_did_not_know() -> None:
    found = read(OLDEST)
    expected = Inference(
        window_size=(16, 16, 16),
        overlap=0.25,
        flip_axes=("R", "S"),
        postprocess=PostProcessing(keep_largest=("liver",)),
    )
    assert found.inference == expected
    assert (found.view, found.classes) == (View("patch"), Classes(("liver", "tumour")))
    assert found.preprocessing == Preprocessing((6.0, 6.0, None), (-100.0, 240.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 3}, "format 3, and this medseg reads format 2"),
        ({"format": None}, "format None"),
        ({"colour": 1}, "colour"),
        ({"options": 3}, "options"),
        ({"classes": {"names": "liver"}}, r"classes\.names"),
        ({"classes": {"names": ["liver"], "activation": "tanh"}}, r"classes\.activation"),
        ({"view": {"mode": "slices"}}, r"view\.mode"),
        ({"view": {"mode": "patch"}}, "expected 3 numbers in mode patch"),
        ({"preprocessing": {"spacing": [1, 1, 1]}}, r"preprocessing\.spacing"),
        ({"preprocessing": {"intensity_range_hu": [5, 5]}}, r"preprocessing\.intensity_range_hu: the first"),
        ({"preprocessing": []}, "preprocessing"),
        ({"inference": {"window_size": [16, 16], "roi": 3}}, r"inference\.roi"),
        ({"inference": {"window_size": [16, 16], "overlap": 1.5}}, r"inference\.overlap"),
        ({"inference": {"window_size": [16, "16"]}}, r"inference\.window_size"),
        ({"inference": {}}, "window_size: expected a size, found none"),
        ({"inference": {"window_size": [16, 16], "postprocess": {"keep_largest": ["spleen"]}}}, "no 'spleen'"),
        ({"inference": {"window_size": [16, 16], "postprocess": {"smooth": ["liver"]}}}, "smooth"),
        ({"inference": {"window_size": [16, 16], "crf": {"iterations": 0}}}, r"inference\.crf\.iterations"),
        ({"inference": {"window_size": [16, 16], "crf": True}}, r"inference\.crf"),
        ({"inference": {"window_size": [16, 16], "scales": []}}, r"inference\.scales"),
    ],
    ids=str,
)
def test_what_this_medseg_cannot_use_is_refused_with_its_place(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        read({**to_entries(FULL), **changes})
    assert "m/model.json" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": "liver"}, r"classes\.names"),
        ({"mode": "volume"}, r"view\.mode"),
        ({"colour": 1}, "colour"),
        ({"inference": {"size": "large"}}, "window_size"),
        ({"inference": {"size": [8, 8, 1], "flip_axes": [3]}}, "flip_axes"),
        ({"inference": {"size": [8, 8, 1], "postprocess": 3}}, "postprocess"),
        ({"inference": 3}, "inference"),
    ],
    ids=str,
)
def test_a_wrong_value_of_the_first_format_is_refused_too(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read({**FORMAT_1, **changes})


@pytest.mark.parametrize("entries", [[], {}, 3, None, "x"], ids=str)
def test_what_is_no_description_is_refused(entries: Any) -> None:
    with pytest.raises(CheckpointError, match="not a model description"):
        read(entries)
