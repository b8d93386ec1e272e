"""Back from the network grid: what went in as a label comes out as that label, on the study's own grid."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medseg.metrics.overlap import confusion, overlap_scores
from medseg.study.phantom import SMALL, make_phantom
from medseg.study.solids import rotation_matrix
from medseg.transforms.preprocessing import Preprocessing, preprocess, preprocess_label
from medseg.transforms.restore import restore
from medseg.types import Grid, Volume


def there_and_back(image: Volume, label: Volume, settings: Preprocessing) -> np.ndarray:
    ready = preprocess(image, settings)
    classes = preprocess_label(label, ready, settings)
    return restore(F.one_hot(classes.long(), 3).movedim(-1, 0).float(), ready)


@pytest.mark.parametrize("index", range(5))
def test_label_comes_back_exactly_when_the_spacing_is_kept(index):
    image, label = make_phantom(3, index, SMALL)  # RAS, LPS, ASL, LPS, oblique SAL
    back = there_and_back(image, label, Preprocessing())
    assert back.dtype == np.uint8
    assert back.flags.c_contiguous
    assert np.array_equal(back, label.voxels)


@pytest.mark.parametrize("spacing", [(2.0, 2.4, 3.0), (2.0, 2.4, None), (0.5, 0.6, 1.0)])
def test_ball_on_an_oblique_mirrored_grid_comes_back_from_other_spacings(spacing):
    axes = np.meshgrid(*(np.arange(56) - c for c in (27, 28, 30)), indexing="ij")
    ball = (sum(a**2 for a in axes) < 22**2).astype(np.uint8)
    affine = np.eye(4)
    affine[:3, :3] = rotation_matrix((5, -8, 3)) @ np.diag([1.0, 1.2, 1.5]) @ [[0, 0, -1], [0, 1, 0], [1, 0, 0]]
    grid = Grid(ball.shape, affine)
    image = Volume(np.where(ball, 50, -1000).astype(np.int16), grid)
    back = there_and_back(image, Volume(ball, grid), Preprocessing(spacing))
    assert overlap_scores(confusion(ball, back, 2)).dice[1] > 0.975  # at half the voxels a tie goes to the background
    assert np.argwhere(back).mean(axis=0) == pytest.approx(np.argwhere(ball).mean(axis=0), abs=0.1)


def test_outside_the_body_is_background_whatever_the_logits_say():
    voxels = np.full((64, 32, 64), -1000, np.int16)
    voxels[8:24, 12:20, 32:56] = 40
    study = preprocess(Volume(voxels, Grid(voxels.shape, np.diag([-1.0, 1.0, -1.0, 1.0]))), Preprocessing((2, 2, 2)))
    logits = torch.stack([torch.zeros(study.grid.shape), torch.ones(study.grid.shape)])
    back = restore(logits, study)
    assert back.shape == voxels.shape
    inside = np.argwhere(back)
    # the body's box is found on every fourth voxel (every second along J), in RAS order, and has a margin of 4
    assert inside.min(axis=0).tolist() == [4, 8, 28]
    assert inside.max(axis=0).tolist() == [27, 23, 59]
    assert back.sum() == np.prod(inside.max(axis=0) - inside.min(axis=0) + 1)
