"""Numbers of a grid, by hand."""

from pathlib import Path

import numpy as np
import pytest

from medseg.types import IGNORE_INDEX, Grid, LabelMap, Study, StudyInput


def _grid(*columns: tuple[float, float, float]) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = np.array(columns).T
    return Grid((4, 4, 4), affine)


def test_spacing_is_the_length_of_each_voxel_axis() -> None:
    turned = _grid((0.0, 0.5, 0.0), (-3.0, 0.0, 4.0), (0.0, 0.0, 2.5))
    assert turned.spacing_mm == pytest.approx((0.5, 5.0, 2.5))


def test_voxel_volume_is_right_for_mirrored_and_sheared_grids() -> None:
    assert _grid((-2.0, 0.0, 0.0), (0.0, 3.0, 0.0), (0.0, 0.0, 5.0)).voxel_ml == pytest.approx(0.030)
    # a gantry tilt shears the slices: the edge is longer, the volume is not
    assert _grid((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 3.0, 4.0)).voxel_ml == pytest.approx(0.004)


def test_classes_of_a_label_map_keep_their_order() -> None:
    assert LabelMap({"tumour": (2,), "liver": (1, 3)}).names == ("tumour", "liver")


def test_a_label_map_gives_an_index_to_every_value_that_it_names() -> None:
    label_map = LabelMap({"tumour": ("Tumor",), "liver": (1, 3)}, ignore=(9,), background=(7,))
    assert label_map.indices == ((0, (7,)), (IGNORE_INDEX, (9,)), (1, ("Tumor",)), (2, (1, 3)))


def test_the_image_of_a_study_is_an_input() -> None:
    assert Study("a", "p", "0", Path("ct"), series="4").input == StudyInput("a", Path("ct"), "4")
