"""Edge-aligned resampling: worked weights, torch's own interpolation and MONAI's Spacing as oracles."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medseg.phantom.solids import rotation_matrix
from medseg.transforms import resampling
from medseg.transforms.resampling import (
    axis_matrix,
    linear_positions,
    resample_classes,
    resample_image,
    resampled_affine,
    resampled_shape,
)
from medseg.types import Grid

SHAPES = [(18, 14, 10), (5, 4, 3), (1, 1, 1), (12, 4, 5), (9, 3, 11)]


@pytest.fixture
def voxels():
    return torch.rand((9, 7, 5), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def small_slabs(monkeypatch):
    monkeypatch.setattr(resampling, "_SLAB_ELEMENTS", 80)  # two rows of 7 x 5


@pytest.mark.parametrize(
    ("n_in", "n_out", "antialias", "rows"),
    [
        (2, 4, False, [[1, 0], [3 / 4, 1 / 4], [1 / 4, 3 / 4], [0, 1]]),
        (4, 2, False, [[1 / 2, 1 / 2, 0, 0], [0, 0, 1 / 2, 1 / 2]]),
        (4, 2, True, [[3 / 7, 3 / 7, 1 / 7, 0], [0, 1 / 7, 3 / 7, 3 / 7]]),
        (3, 1, True, [[2 / 7, 3 / 7, 2 / 7]]),
    ],
)
def test_weights_worked_out_by_hand(n_in, n_out, antialias, rows):
    assert torch.allclose(axis_matrix(n_in, n_out, antialias=antialias), torch.tensor(rows))


@pytest.mark.parametrize("antialias", [False, True])
def test_every_row_sums_to_one(antialias):
    for n_in, n_out in [(1, 1), (1, 7), (7, 1), (5, 13), (13, 5), (64, 27)]:
        assert torch.allclose(axis_matrix(n_in, n_out, antialias=antialias).sum(dim=1), torch.ones(n_out))


@pytest.mark.parametrize("shape", SHAPES)
def test_image_equals_torchs_trilinear_interpolation(voxels, shape):
    expected = F.interpolate(voxels[None, None], size=shape, mode="trilinear", align_corners=False)[0, 0]
    assert torch.allclose(resample_image(voxels, shape, antialias=False), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(4, 3), (2, 7), (13, 2), (20, 15)])
def test_antialias_equals_torchs_in_2d(voxels, size):
    slices = voxels.movedim(-1, 0)[:, None]
    expected = F.interpolate(slices, size=size, mode="bilinear", align_corners=False, antialias=True)[:, 0]
    assert torch.allclose(resample_image(voxels, (*size, 5), antialias=True), expected.movedim(0, -1), atol=1e-6)


def test_slabs_do_not_change_the_image(voxels, small_slabs):
    expected = F.interpolate(voxels[None, None], size=(4, 9, 6), mode="trilinear", align_corners=False)[0, 0]
    assert torch.allclose(resample_image(voxels, (4, 9, 6), antialias=False), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(9, 7, 5), (4, 9, 6)])
def test_flipped_and_permuted_views_and_other_types_are_understood(voxels, shape):
    integers = (voxels * 1000).to(torch.int16)
    expected = resample_image(integers.float(), shape, antialias=True)
    stored = integers.permute(2, 0, 1).contiguous()
    for same in (stored.permute(1, 2, 0), integers.to(torch.float64), integers.flip(0).contiguous().flip(0)):
        result = resample_image(same, shape, antialias=True)
        assert torch.equal(result, expected)
        assert result.dtype == torch.float32
        assert result.is_contiguous()


def test_result_shares_no_memory_even_without_resampling(voxels):
    resample_image(voxels, (9, 7, 5), antialias=True).zero_()
    assert voxels.max() > 0


def test_new_shape_covers_the_box_at_about_the_spacing():
    grid = Grid((100, 50, 7), np.diag([0.7, 0.7, 5.0, 1.0]))
    assert resampled_shape(grid, None) == (100, 50, 7)
    assert resampled_shape(grid, (2.0, None, 5.0)) == (35, 50, 7)
    assert resampled_shape(grid, (0.35, 1000.0, 2.5)) == (200, 1, 14)


def test_outer_edges_of_the_two_grids_coincide_in_the_world():
    affine = np.eye(4)
    affine[:3, :3] = rotation_matrix((5, -20, 70)) @ np.diag([0.7, 0.8, 5.0])
    affine[:3, 3] = 10, -20, 30
    new = resampled_affine(Grid((10, 8, 6), affine), (4, 16, 5))
    for old_corner, new_corner in [((-0.5, -0.5, -0.5), (-0.5, -0.5, -0.5)), ((9.5, 7.5, -0.5), (3.5, 15.5, -0.5))]:
        assert np.allclose(affine @ [*old_corner, 1], new @ [*new_corner, 1])


def test_image_and_affine_equal_monais_spacing_where_the_sizes_divide():
    from monai.data import MetaTensor
    from monai.transforms import Spacing

    image = torch.rand((1, 9, 8, 6), generator=torch.Generator().manual_seed(1))
    grid = Grid((9, 8, 6), np.diag([1.0, 2.0, 1.0, 1.0]))
    grid.affine[:3, 3] = 3, 4, 5
    target = (1.5, 1.0, 3.0)
    # elsewhere MONAI keeps the wanted spacing and cuts the box, we keep the box and bend the spacing
    spacing = Spacing(target, mode="bilinear", padding_mode="border", align_corners=False, scale_extent=True)
    expected = spacing(MetaTensor(image, affine=grid.affine))
    shape = resampled_shape(grid, target)
    assert shape == tuple(expected.shape[1:]) == (6, 16, 2)
    assert np.allclose(resampled_affine(grid, shape), expected.affine)
    assert torch.allclose(resample_image(image[0], shape, antialias=False), expected[0].as_tensor(), atol=1e-5)


def test_class_with_the_largest_share_wins_and_ties_go_to_the_lower():
    classes = torch.tensor([1, 1, 1, 255, 255, 255, 2, 0], dtype=torch.uint8).reshape(8, 1, 1)
    coarse = resample_classes(classes, (4, 1, 1), antialias=False)
    assert coarse.flatten().tolist() == [1, 1, 255, 0]  # (1 1) (1 255) (255 255) (2 0)
    fine = resample_classes(classes[2:4], (4, 1, 1), antialias=True)
    assert fine.flatten().tolist() == [1, 1, 255, 255]
    assert torch.equal(resample_classes(classes, (8, 1, 1), antialias=True), classes)


@pytest.mark.parametrize("n_in", [1, 2, 5, 6])
@pytest.mark.parametrize("n_out", [1, 2, 5, 13])
def test_positions_say_what_the_matrix_weighs(n_in, n_out):
    below, share = linear_positions(n_in, n_out)
    weights = torch.zeros(n_out, n_in)
    for o in range(n_out):
        weights[o, below[o]] += 1 - share[o]
        if share[o] > 0:
            weights[o, below[o] + 1] += share[o]
    assert torch.allclose(weights, axis_matrix(n_in, n_out, antialias=False), atol=1e-6)
