import numpy as np
import pytest
import torch

from medseg.inference.locate import organ_box
from medseg.model.inference import Locate
from medseg.transforms.preprocessing import Preprocessed
from medseg.types import Grid

SHAPE = (20, 16, 10)


def coarse_grid():
    """20 x 16 x 10 voxels of 5 mm over 100 x 80 x 25 voxels of 1 x 1 x 2 mm that begin at voxel (7, 0, 3)."""
    crop = (slice(7, 107), slice(0, 80), slice(3, 28))
    grid = Grid(SHAPE, np.diag([5.0, 5.0, 5.0, 1.0]))
    native = Grid((120, 80, 30), np.diag([1.0, 1.0, 2.0, 1.0]))
    return Preprocessed(torch.zeros(SHAPE), grid, native, native.shape, crop)


def test_box_is_that_of_the_organ_in_the_studys_voxels_and_its_margin():
    classes = np.zeros(SHAPE, np.uint8)
    classes[4:8, 6:10, 2:6] = 2
    classes[0, 0, 0] = 2  # 0.125 ml: a speck
    classes[15:, :, :] = 1
    box, note = organ_box(classes, coarse_grid(), [2], Locate(margin_mm=10.0))
    # (4 - 2) * 5 + 7, (8 + 2) * 5 + 7; (6 - 2) * 5, (10 + 2) * 5; (2 - 2) * 2.5 + 3, (6 + 2) * 2.5 + 3
    assert box == (slice(17, 57), slice(20, 60), slice(3, 23))
    assert "16%" in note  # 40 * 40 * 20 of 100 * 80 * 25


def test_box_stays_within_the_body():
    classes = np.zeros(SHAPE, np.uint8)
    classes[:3, 10:, 8:] = 1
    box, _ = organ_box(classes, coarse_grid(), [1], Locate(margin_mm=1000.0, minimum_ml=1.0, largest_share=1.0))
    assert box == coarse_grid().crop


@pytest.mark.parametrize(
    ("voxels", "why"), [(0, "nothing of at least 5 ml"), (39, "nothing"), (3200, "100% of the body")]
)
def test_nothing_or_too_much_means_the_whole_body_and_says_so(voxels, why):
    classes = np.zeros(SHAPE, np.uint8)
    classes.reshape(-1)[:voxels] = 1
    box, note = organ_box(classes, coarse_grid(), [1], Locate())
    assert box is None
    assert why in note
    assert "whole body" in note


@pytest.mark.parametrize("wrong", [{"spacing_mm": 0.0}, {"margin_mm": -1.0}, {"largest_share": 0.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Locate(**wrong)
