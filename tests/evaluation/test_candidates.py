"""Which steps are tried, and that a set of them does to a study what the segmenter does with it."""

import numpy as np
import pytest
import torch

from medseg.evaluation.candidates import THRESHOLDS, Reading, Step, candidates, cleaned, cut, possible, section
from medseg.inference.request import Request
from medseg.inference.segmenter import Segmenter
from medseg.model.classes import Classes
from medseg.model.inference import Inference
from medseg.model.postprocess import PostProcessing
from medseg.model.spec import ModelSpec
from medseg.model.view import View
from medseg.transforms.settings import Preprocessing
from medseg.types import Grid, Volume

BOTH = Classes(("liver", "tumour"))
NAMES = BOTH.names


class Linear(torch.nn.Module):
    """Liver and tumour the more likely, the brighter."""

    def forward(self, x):
        return torch.cat([2.0 - 2.0 * x, x, 4.0 * x - 2.5], dim=1)


def noise():
    voxels = np.random.default_rng(0).integers(0, 100, (9, 8, 7)).astype(np.int16)
    return Volume(voxels, Grid((9, 8, 7), np.diag([5.0, 5.0, 5.0, 1.0])))


def segmented(image, **steps):
    preprocessing = Preprocessing(intensity_range_hu=(0.0, 100.0), crop_to_body=False)
    inference = Inference(window_size=(4, 4, 4), postprocess=PostProcessing(**steps))
    spec = ModelSpec("unet", {}, BOTH, View(), preprocessing, inference)
    return Segmenter((Linear(),), spec).segment(image, Request(probabilities=NAMES))


@pytest.mark.parametrize(
    "steps",
    [
        {},
        {"thresholds": {"tumour": 0.3}},
        {"thresholds": {"tumour": 0.1, "liver": 0.36}},
        {"thresholds": {"liver": 0.36, "tumour": 0.1}},
        {"keep_largest": ["tumour"], "fill_holes": ["liver"]},
    ],
)
def test_a_section_gives_what_the_segmenter_gives_with_it(steps):
    image = noise()
    raw = segmented(image)
    probabilities = np.stack([raw.probabilities[name] for name in NAMES])
    found = cleaned(Reading(raw.classes, raw.classes, image.grid, probabilities), PostProcessing(**steps), BOTH)
    expected = segmented(image, **steps).classes
    assert len(np.unique(expected)) > 1
    sure = np.ones(found.shape, bool)  # a byte cannot tell on which side of a threshold the nearest ones lie
    for name, least in steps.get("thresholds", {}).items():
        sure &= np.abs(raw.probabilities[name] - 255.0 * least) > 0.5
    assert sure.mean() > 0.9
    assert np.array_equal(found[sure], expected[sure])


def test_candidates_come_from_the_gentle_to_the_harsh():
    assert [str(step) for step in candidates(("liver",))] == [
        "fill_holes: liver",
        *(f"minimum_ml: liver {ml} ml" for ml in ("0.05", "0.1", "0.2", "0.5", "1", "2", "5")),
        "keep_largest: liver",
    ]
    assert "inside: tumour in liver + 5 mm" in map(str, candidates(NAMES))
    assert [str(step) for step in candidates(("liver",), thresholds=True)][:2] == [
        "thresholds: liver 0.5",
        "thresholds: liver 0.4",
    ]


def test_steps_become_the_section():
    steps = [
        Step("minimum_ml", "tumour", amount=0.1),
        Step("inside", "tumour", "liver", 5.0),
        Step("thresholds", "tumour", amount=0.3),
    ]
    assert section(steps) == {
        "thresholds": {"tumour": 0.3},
        "inside": {"tumour": {"of": ["liver"], "margin_mm": 5.0}},
        "minimum_ml": {"tumour": 0.1},
    }


def test_two_classes_cannot_lie_inside_each_other():
    there, back = Step("inside", "tumour", "liver", 5.0), Step("inside", "liver", "tumour", 5.0)
    assert possible([there, Step("thresholds", "liver", amount=0.5)])
    assert not possible([there, back])


def test_what_is_cut_holds_all_that_a_threshold_could_find():
    empty = np.zeros((9, 9, 9), np.uint8)
    probabilities = np.zeros((2, 9, 9, 9), np.uint8)
    probabilities[1, 2, 3, 4] = int(np.ceil(255 * min(THRESHOLDS)))
    found = cut(Reading(empty, empty, Grid((9, 9, 9), np.eye(4)), probabilities))
    assert found.reference.shape == found.segmentation.shape == found.grid.shape == (3, 3, 3)
    assert found.probabilities.shape == (2, 3, 3, 3)
    assert found.probabilities[1, 1, 1, 1] == probabilities.max()
    assert cut(Reading(empty, empty, Grid((9, 9, 9), np.eye(4)))).probabilities is None
