"""What is shown of a study: its region, its errors, its slices. Orientation on paper: figures/test_overlay.py."""

import numpy as np
import pytest

from medseg.errors import GeometryError
from medseg.reports.scene import VIEWS, foreground, make_scene
from medseg.types import Grid, Volume


def volume(voxels: np.ndarray, spacing: float = 5.0) -> Volume:
    return Volume(voxels, Grid(voxels.shape, np.diag([spacing, spacing, spacing, 1.0])))


def cube(start: int = 40, stop: int = 60) -> np.ndarray:
    voxels = np.zeros((100, 100, 100), np.uint8)
    voxels[start:stop, start:stop, start:stop] = 1
    return voxels


def test_the_scene_is_cut_to_the_labels_with_a_margin_of_30_mm():
    scene = make_scene(volume(cube()), None, volume(cube()), "study")
    # 100 mm of label are less than 150: 25 mm on each side, more is the margin of 30 mm
    assert scene.image.shape == (32, 32, 32)
    assert scene.affine[:3, 3].tolist() == [170.0, 170.0, 170.0]
    assert scene.position_mm(VIEWS[0], 6) == 200.0  # the first labelled slice, at 40 * 5 mm


def test_a_small_lesion_is_shown_in_150_mm_and_nothing_labelled_shows_all():
    assert make_scene(volume(cube(50, 52)), None, volume(cube(50, 52)), "study").image.shape == (30, 30, 30)
    empty = np.zeros((100, 100, 100), np.uint8)
    assert make_scene(volume(empty), None, volume(empty), "study").image.shape == (100, 100, 100)


def test_ignored_voxels_are_neither_labelled_nor_wrong():
    reference = cube()
    reference[40:50] = np.where(reference[40:50] == 1, 255, reference[40:50])
    scene = make_scene(volume(cube()), volume(reference), volume(cube()), "study")
    assert not scene.errors().any()
    assert scene.labelled().sum() == 8000
    assert foreground(np.array([0, 1, 255, 7], np.uint8)).tolist() == [False, True, False, True]


def test_panels_have_the_proportions_of_the_body():
    voxels = np.zeros((40, 20, 10), np.uint8)
    scene = make_scene(volume(voxels, 10.0), None, volume(voxels, 10.0), "study")
    assert [scene.ratio(view) for view in VIEWS] == [2.0, 4.0, 2.0]


def test_volumes_on_other_grids_are_refused():
    with pytest.raises(GeometryError, match="study: image and reference"):
        make_scene(volume(cube()), volume(cube()[1:]), volume(cube()), "study")
