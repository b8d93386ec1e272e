"""Back from the network grid: what went in as a label comes out as that label, on the study's own grid."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medseg.metrics.overlap import confusion, overlap_scores
from medseg.model.classes import Classes
from medseg.phantom.make import SMALL, make_phantom
from medseg.phantom.solids import rotation_matrix
from medseg.study.geometry import reorient
from medseg.transforms.preprocessing import Preprocessed, preprocess, preprocess_label
from medseg.transforms.restore import Restorer, restore
from medseg.transforms.settings import Preprocessing
from medseg.types import Grid, Volume

BOTH = Classes(("liver", "tumour"))


def there_and_back(image: Volume, label: Volume, settings: Preprocessing) -> np.ndarray:
    ready = preprocess(image, settings)
    classes = preprocess_label(label, ready, settings)
    return restore(F.one_hot(classes.long(), 3).movedim(-1, 0).float(), ready, BOTH.decide)


@pytest.mark.parametrize("index", range(5))
def test_label_comes_back_exactly_when_the_spacing_is_kept(index):
    image, label = make_phantom(3, index, SMALL)  # RAS, LPS, ASL, LPS, oblique SAL
    back = there_and_back(image, label, Preprocessing())
    assert back.dtype == np.uint8
    assert back.flags.c_contiguous
    assert np.array_equal(back, label.voxels)


@pytest.mark.parametrize("crop_to_body", [True, False])
def test_all_outside_a_box_can_be_cleared(crop_to_body):
    image, label = make_phantom(3, 4, SMALL)  # oblique SAL
    ready = preprocess(image, Preprocessing(crop_to_body=crop_to_body))
    scores = F.one_hot(preprocess_label(label, ready, Preprocessing()).long(), 3).permute(2, 3, 0, 1).float()
    restorer = Restorer(ready, BOTH.decide, num_extras=1)
    restorer.add(scores, scores[:, 1:2])
    box = (slice(5, 30), slice(0, 20), slice(12, 60))
    inside = np.zeros(label.voxels.shape, bool)
    reorient(inside, image.grid.affine)[0][box] = True
    before, extra = restorer.classes.copy(), restorer.extras[0].copy()
    assert 0 < np.count_nonzero(before[inside]) < np.count_nonzero(before)
    restorer.clear_outside(box)
    assert np.array_equal(restorer.classes, np.where(inside, before, 0))
    assert np.array_equal(restorer.extras[0], np.where(inside, extra, 0))


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
    back = restore(logits, study, BOTH.decide)
    assert back.shape == voxels.shape
    inside = np.argwhere(back)
    # the body's box is found on every fourth voxel (every second along J), in RAS order, and has a margin of 4
    assert inside.min(axis=0).tolist() == [4, 8, 28]
    assert inside.max(axis=0).tolist() == [27, 23, 59]
    assert back.sum() == np.prod(inside.max(axis=0) - inside.min(axis=0) + 1)


def study_of(shape, native, affine=None, ras_shape=None):
    """A study whose network grid has ``shape`` voxels and whose own, uncropped, has ``native``."""
    grid = Grid(native, np.eye(4) if affine is None else affine)
    crop = tuple(slice(0, n) for n in ras_shape or native)
    return Preprocessed(torch.zeros(shape), Grid(shape, np.eye(4)), grid, ras_shape or native, crop)


def scores_of(kind, shape, classes=4):
    generator = torch.Generator().manual_seed(2)
    coarse = torch.randn((classes, *shape), generator=generator)
    if kind == "noise":
        return coarse
    blobs = torch.randn((1, classes, 3, 3, 3), generator=generator)
    return F.interpolate(blobs, size=shape, mode="trilinear")[0] + 0.01 * coarse


@pytest.mark.parametrize("kind", ["noise", "blobs"])
@pytest.mark.parametrize("native", [(11, 9, 13), (5, 3, 2), (7, 5, 9), (24, 21, 30), (1, 1, 1)])
@pytest.mark.parametrize("shape", [(7, 5, 4), (12, 11, 10), (3, 1, 1)])
def test_equals_the_decision_on_the_whole_interpolated_array(kind, native, shape):
    scores = scores_of(kind, shape)
    whole = F.interpolate(scores[None], size=native, mode="trilinear", align_corners=False)[0]
    top = whole.topk(2, dim=0).values
    clear = (top[0] - top[1] > 1e-5).numpy()  # a tie is decided by the last bit
    assert np.array_equal(
        restore(scores, study_of(shape, native), BOTH.decide)[clear], whole.argmax(dim=0).numpy()[clear]
    )
    assert clear.mean() > 0.95


@pytest.mark.parametrize("parts", [1, 2, 3, 10])
def test_slices_may_come_in_any_portions_and_in_any_order_of_the_studys_axes(parts):
    scores, native = scores_of("blobs", (6, 7, 10)), (9, 12, 17)
    plain = restore(scores, study_of((6, 7, 10), native), BOTH.decide)
    affine = np.array([[0, 0, -1.0, 0], [-1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1]])  # voxel axes P, S, L
    restorer = Restorer(study_of((6, 7, 10), (12, 17, 9), affine, native), BOTH.decide)
    for part in scores.permute(3, 0, 1, 2).split(parts):
        restorer.add(part)
    back = restorer.classes
    assert back.shape == (12, 17, 9)
    assert np.array_equal(back[::-1, :, ::-1].transpose(2, 0, 1), plain)


def test_threshold_equals_that_on_the_whole_interpolated_array():
    probabilities = scores_of("blobs", (12, 11, 10)).softmax(dim=0)
    whole = F.interpolate(probabilities[None], size=(30, 21, 24), mode="trilinear")[0]
    classes = Classes(("a", "b", "c"))
    decide = partial(classes.decide, thresholds=[(2, 0.3), (3, 0.45)])
    clear = ((whole[2] - 0.3).abs() > 1e-5) & ((whole[3] - 0.45).abs() > 1e-5) & ((whole[0] - whole[1]).abs() > 1e-5)
    expected = decide(whole)
    assert len(expected.unique()) == 4
    back = torch.from_numpy(restore(probabilities, study_of((12, 11, 10), (30, 21, 24)), decide))
    assert torch.equal(back[clear], expected[clear])


def test_further_maps_are_interpolated_and_kept_as_bytes():
    scores = scores_of("blobs", (6, 5, 4))
    maps = scores.softmax(dim=0)[1:3]
    restorer = Restorer(study_of((6, 5, 4), (9, 10, 7)), BOTH.decide, num_extras=2)
    restorer.add(scores.permute(3, 0, 1, 2), maps.permute(3, 0, 1, 2))
    whole = F.interpolate(maps[None], size=(9, 10, 7), mode="trilinear")[0].numpy()
    for found, expected in zip(restorer.extras, whole, strict=True):
        assert found.dtype == np.uint8
        assert np.abs(found / 255 - expected).max() <= 0.5 / 255 + 1e-6
