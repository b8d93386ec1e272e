import numpy as np
import pytest

from medseg.phantom.anatomy import BACKGROUND, LIVER, draw_anatomy
from medseg.phantom.solids import Part
from medseg.phantom.tumours import TUMOUR

AXIS = np.arange(-160, 161, 8, dtype=np.float32)
POINTS = np.meshgrid(AXIS, AXIS, AXIS, indexing="ij")
SEEDS = range(3)


def middle(parts: list[Part], name: str) -> tuple[float, float, float]:
    mask = np.any([part.solid.field(*POINTS) < 0 for part in parts if part.name == name], axis=0)
    assert mask.any(), name
    x, y, z = (float(values[mask].mean()) for values in POINTS)
    return x, y, z


@pytest.fixture(scope="module", params=SEEDS)
def parts(request: pytest.FixtureRequest) -> list[Part]:
    return draw_anatomy(np.random.default_rng(request.param), [30.0, 15.0])


def test_organs_lie_where_a_body_has_them(parts):
    liver, spleen, lung = (middle(parts, name) for name in ("liver", "spleen", "lung"))
    assert liver[0] > 25, "liver on the patient's right"
    assert spleen[0] < -60, "spleen on the left"
    assert middle(parts, "vertebrae")[1] < -40 < middle(parts, "breastbone")[1], "spine behind, breastbone in front"
    assert middle(parts, "heart")[2] > lung[2] > liver[2] + 30, "lungs and heart above the liver"
    assert middle(parts, "stomach gas")[1] > middle(parts, "stomach")[1], "gas floats to the front"
    assert middle(parts, "cava")[0] > 5 > middle(parts, "aorta")[0], "vena cava right of the aorta"


def test_liver_has_an_adults_size_and_lies_in_the_body(parts):
    masks = {part.name: part.solid.field(*POINTS) < 0 for part in parts if part.name in ("liver", "muscle")}
    assert 1.0e6 < masks["liver"].sum() * 8**3 < 2.2e6, "cubic millimetres"
    assert not (masks["liver"] & ~masks["muscle"]).any()


def test_tumours_keep_off_all_that_dents_the_liver(parts):
    tumours = [part.solid.field(*POINTS) < 0 for part in parts if part.label == TUMOUR]
    dents = [part.solid.field(*POINTS) < 0 for part in parts if part.label == BACKGROUND]
    assert len(tumours) == 2
    assert not (np.any(tumours, axis=0) & np.any(dents, axis=0)).any()


def test_labels_are_painted_from_liver_to_neighbours_to_tumours(parts):
    labels = [part.label for part in parts if part.label is not None]
    assert labels == [LIVER] + [BACKGROUND] * (len(labels) - 3) + [TUMOUR] * 2


def test_patients_are_scanned_in_different_contrast_phases():
    patients = [{part.name: part.hu for part in draw_anatomy(np.random.default_rng(seed), [])} for seed in range(12)]
    assert {int(np.digitize(hu["aorta"], [80, 210])) for hu in patients} == {0, 1, 2}, "native, portal, arterial"
    native = [hu for hu in patients if hu["aorta"] < 60]
    assert all(hu["kidney"] < 60 and hu["spleen"] < 60 for hu in native), "no medium anywhere"
