"""Measurements of arrays small enough to be worked out by hand."""

import json
import math

import numpy as np
import pytest

from medseg.batch.measurements import measure
from medseg.errors import ConfigError, GeometryError
from medseg.inference.result import Segmentation
from medseg.types import Grid, Volume

LPS = np.array([[-1.0, 0, 0, 9], [0, -2.0, 0, 8], [0, 0, 5.0, 7], [0, 0, 0, 1]])
NAMES = ("liver", "tumour", "spleen")


@pytest.fixture(params=["C", "F"])
def study(request):
    classes = np.zeros((6, 5, 4), np.uint8, order=request.param)
    classes[1:5, 1:4, 1:3] = 1  # 24 voxels, of which 3 become tumour
    classes[1, 1, 1] = classes[4, 3, 2] = classes[3, 3, 2] = 2
    hu = np.full(classes.shape, -1000, np.int16)
    hu[classes == 1] = 100
    hu[1, 2, 1] = 310  # one of 21 liver voxels
    hu[1, 1, 1], hu[4, 3, 2], hu[3, 3, 2] = 10, 20, 60
    return classes, Volume(hu, Grid(classes.shape, LPS))


def test_document_of_a_study(study):
    classes, image = study
    document = measure(Segmentation(classes, NAMES, notes=("a note",)), image, "s1", lesions=["tumour"], model="m")
    liver, tumour, spleen = document.pop("classes")
    tumours = document.pop("lesions")["tumour"]
    assert document == {
        "format": "medseg-study/1",
        "study_id": "s1",
        "model": "m",
        "grid": {"shape": [6, 5, 4], "spacing_mm": [1.0, 2.0, 5.0], "orientation": "LPS"},
        "labels": {"1": "liver", "2": "tumour", "3": "spleen"},
        "notes": ["a note"],
    }
    assert liver == {
        "name": "liver",
        "value": 1,
        "voxels": 21,
        "volume_ml": 0.21,
        "mean_hu": 110.0,
        "sd_hu": round(math.sqrt(20 * 10**2 / 21 + 200**2 / 21), 6),
        "touches_border": False,
        "mean_uncertainty": None,
    }
    assert (tumour["voxels"], tumour["mean_hu"], tumour["volume_ml"]) == (3, 30.0, 0.03)
    assert spleen == {
        "name": "spleen",
        "value": 3,
        "voxels": 0,
        "volume_ml": 0.0,
        "mean_hu": None,
        "sd_hu": None,
        "touches_border": False,
        "mean_uncertainty": None,
    }
    assert tumours["count"] == 2
    assert tumours["lesions"][0] == {
        "index": 1,
        "centre_mm": [9 - 3.5, 8 - 6.0, 7 + 10.0],
        "voxels": 2,
        "volume_ml": 0.02,
        "longest_diameter_mm": round(math.sqrt(4 + 4 + 25), 6),
        "mean_hu": 40.0,
        "mean_uncertainty": None,
    }
    assert tumours["lesions"][1]["centre_mm"] == [8.0, 6.0, 12.0]


def test_uncertainty_is_averaged_per_class_and_lesion(study):
    classes, image = study
    uncertainty = np.zeros(classes.shape, np.uint8)
    uncertainty[classes == 1] = 51
    uncertainty[1, 1, 1] = 255
    document = measure(Segmentation(classes, NAMES, uncertainty=uncertainty), image, "s1", lesions=["tumour", "spleen"])
    assert [row["mean_uncertainty"] for row in document["classes"]] == [0.2, 0.333333, None]
    assert [row["mean_uncertainty"] for row in document["lesions"]["tumour"]["lesions"]] == [0.0, 1.0]
    assert document["lesions"]["spleen"] == {"count": 0, "lesions": []}


@pytest.mark.parametrize("voxel", [(0, 2, 2), (5, 2, 2), (2, 0, 2), (2, 4, 2), (2, 2, 0), (2, 2, 3)])
def test_a_class_at_any_face_touches_the_border(study, voxel):
    classes, image = study
    classes[voxel] = 3
    flags = [row["touches_border"] for row in measure(Segmentation(classes, NAMES), image, "s1")["classes"]]
    assert flags == [False, False, True]


def test_an_empty_segmentation_is_a_document_too(study):
    classes, image = study
    document = measure(Segmentation(classes * 0, NAMES), image, "s1", lesions=NAMES)
    assert [row["voxels"] for row in document["classes"]] == [0, 0, 0]
    assert [table["count"] for table in document["lesions"].values()] == [0, 0, 0]
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_float_images_of_constant_hu_have_no_spread(study):
    classes, image = study
    constant = Volume(np.full(classes.shape, 60.1, np.float32), image.grid)
    row = measure(Segmentation(classes, NAMES), constant, "s1")["classes"][0]
    assert (row["mean_hu"], row["sd_hu"]) == (pytest.approx(60.1, abs=1e-5), pytest.approx(0, abs=1e-4))


def test_lesions_of_an_unknown_class_are_refused(study):
    classes, image = study
    with pytest.raises(ConfigError, match=r"model \(liver, tumour, spleen\), found tumor"):
        measure(Segmentation(classes, NAMES), image, "s1", lesions=["tumor"])


def test_a_segmentation_of_another_shape_is_refused(study):
    classes, image = study
    with pytest.raises(GeometryError, match=r"study s1: expected .* \(6, 5, 4\), found \(5, 5, 4\)"):
        measure(Segmentation(classes[1:], NAMES), image, "s1")
