import pytest

from medseg.config.agreement import disagreements, idle_settings
from medseg.config.schema import PipelineConfig

LABELS = {"labels": {"liver": 1, "tumour": 2}}


def found(pipeline):
    return [str(problem) for problem in disagreements({**LABELS, **pipeline}, PipelineConfig)]


def test_sections_that_agree_give_nothing():
    assert found({"data": {"mode": "slab", "patch_size": [64, 64], "class_shares": {"tumour": 2}}}) == []


def test_sizes_must_have_the_axes_of_the_mode():
    pipeline = {"data": {"mode": "slice", "patch_size": [1, 2, 3]}, "inference": {"window_size": [1, 2, 3]}}
    assert found(pipeline) == [
        "data.patch_size: expected 2 numbers in mode slice, found 3",
        "inference.window_size: expected 2 numbers in mode slice, found 3",
    ]
    assert found({"data": {"patch_size": [1, 2]}}) == ["data.patch_size: expected 3 numbers in mode patch, found 2"]


def test_every_place_that_names_classes_is_checked():
    pipeline = {
        "data": {"class_shares": {"livr": 1}, "label_maps": {"other": {"ignore": 3, "zebra": 1}}},
        "inference": {
            "postprocess": {
                "minimum_ml": {"kidney": 1},
                "thresholds": {"tumour": 0.3},
                "keep_largest": ["liver", "tumor"],
                "inside": {"tumour": {"of": ["livr"]}},
            }
        },
        "evaluation": {"lesions": ["tumor"], "tolerance_mm": {"spine": 1, "liver": 7}},
        "training": {"loss": [{"name": "cross_entropy", "class_weights": {"background": 1, "bone": 2}}]},
    }
    assert found(pipeline) == [
        "data.class_shares: expected a class of labels (liver or tumour), found 'livr'; did you mean 'liver'?",
        "data.label_maps.other: expected a class of labels (liver, tumour, ignore or background), found 'zebra'",
        "inference.postprocess.minimum_ml: expected a class of labels (liver or tumour), found 'kidney'",
        "inference.postprocess.keep_largest: expected a class of labels (liver or tumour), found 'tumor'; "
        "did you mean 'tumour'?",
        "inference.postprocess.inside.tumour.of: expected a class of labels (liver or tumour), found 'livr'; "
        "did you mean 'liver'?",
        "evaluation.lesions: expected a class of labels (liver or tumour), found 'tumor'; did you mean 'tumour'?",
        "evaluation.tolerance_mm: expected a class of labels (liver or tumour), found 'spine'",
        "training.loss.0.class_weights: expected a class of labels (liver, tumour or background), found 'bone'",
    ]


@pytest.mark.parametrize(
    "pipeline",
    [
        {},
        {"labels": None, "data": None, "inference": "x", "training": []},
        {"data": {"mode": ["slice"], "patch_size": "x", "class_shares": 3, "label_maps": {"a": 1}}},
        {
            "inference": {"postprocess": {"keep_largest": [1], "inside": {"liver": 3}}},
            "training": {"loss": ["dice", {"class_weights": "balanced"}]},
        },
    ],
)
def test_values_of_a_wrong_type_are_left_to_the_schema(pipeline):
    assert found(pipeline) == []


QUIET = {
    "data": {"mode": "patch", "slab_neighbours": 1, "foreground_share": 0.3, "class_shares": {}},
    "training": {"schedule": {"name": "poly", "power": 0.9}},
    "augmentation": {"flip": {"axes": ["R", "A", "S"]}, "truncate": 0.2},
    "inference": {"flip_axes": ["S"]},
}


def idle(**sections):
    return [problem.key for problem in idle_settings({**QUIET, **sections})]


def test_settings_without_effect_are_named():
    assert idle() == []
    data = {"mode": "patch", "slab_neighbours": 2, "foreground_share": 0.0, "class_shares": {"liver": 1}}
    assert idle(data=data, training={"schedule": {"name": "cosine", "power": 2.0}}) == [
        "data.slab_neighbours",
        "data.class_shares",
        "training.schedule.power",
    ]


def test_inference_settings_without_effect_are_named():
    assert idle(inference={"flip_axes": [], "scales": [1.0], "scale_fusion": "max"}) == ["inference.scale_fusion"]
    crf = {"smoothness_weight": 0.0, "appearance_weight": 0.0}
    quiet = {"flip_axes": [], "scales": [1.0, 0.5], "scale_fusion": "max", "crf": {**crf, "appearance_weight": None}}
    assert idle(inference=quiet) == []
    assert idle(inference={**quiet, "crf": crf}) == ["inference.crf"]


def test_evaluation_settings_without_effect_are_named():
    assert idle(evaluation={"surface": False, "tolerance_mm": {"liver": 7}}) == ["evaluation.tolerance_mm"]
    assert idle(evaluation={"min_overlap": 0.5, "lesions": []}) == ["evaluation.min_overlap"]
    assert idle(evaluation={"min_overlap": 0.5, "lesions": ["tumour"], "tolerance_mm": {"liver": 7}}) == []


@pytest.mark.parametrize("mode", ["slice", "slab"])
def test_what_needs_the_third_axis_is_idle_without_it(mode):
    flat = {**QUIET["data"], "mode": mode}
    assert idle(data=flat) == ["augmentation.flip.axes", "augmentation.truncate", "inference.flip_axes"]
    planar = {"flip": {"axes": ["R"]}, "truncate": None}
    assert idle(data=flat, augmentation=planar, inference={"flip_axes": ["R"]}) == []
    assert idle(data=flat, augmentation={"flip": None, "truncate": None}, inference={"flip_axes": []}) == []
