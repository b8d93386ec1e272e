import numpy as np
import pytest

from medseg.phantom.solids import Part, ellipsoid
from medseg.phantom.tumours import TUMOUR, draw_tumours

LIVER = ellipsoid((0, 0, 0), (60, 50, 40))
AXIS = np.arange(-64, 65, 2, dtype=np.float32)
POINTS = np.meshgrid(AXIS, AXIS, AXIS, indexing="ij")


def labelled(seed: int, diameters: list[float], liver_hu: float = 100.0) -> list[Part]:
    parts = draw_tumours(np.random.default_rng(seed), LIVER, liver_hu, diameters)
    return [part for part in parts if part.label == TUMOUR]


@pytest.mark.parametrize("seed", range(5))
def test_tumours_lie_in_the_liver_and_apart(seed):
    masks = [part.solid.field(*POINTS) < 0 for part in labelled(seed, [30, 20, 15, 10])]
    assert len(masks) == 4
    assert max(sum(mask.astype(int) for mask in masks).ravel()) == 1
    assert not any((mask & (LIVER.field(*POINTS) > 0)).any() for mask in masks)


def test_volume_is_that_of_the_ball_asked_for():
    volumes = [(p.solid.field(*POINTS) < 0).sum() * 8 for seed in range(8) for p in labelled(seed, [30])]
    np.testing.assert_allclose(volumes, np.pi / 6 * 30**3, rtol=0.12)
    assert np.mean(volumes) == pytest.approx(np.pi / 6 * 30**3, rel=0.05)


def test_tumour_without_room_shrinks():
    (part,) = labelled(0, [300])
    mask = part.solid.field(*POINTS) < 0
    assert mask.any()
    assert not (mask & (LIVER.field(*POINTS) > 0)).any()


@pytest.mark.parametrize(("liver_hu", "least", "most"), [(58, 18, 53), (110, 27, 95)])
def test_tumours_are_darker_than_the_liver(liver_hu, least, most):
    parts = [p for seed in range(20) for p in draw_tumours(np.random.default_rng(seed), LIVER, liver_hu, [20])]
    differences = [liver_hu - part.hu for part in parts]
    assert least <= min(differences) <= max(differences) <= most


def test_no_diameters_draw_nothing():
    assert draw_tumours(np.random.default_rng(0), LIVER, 100.0, []) == []
