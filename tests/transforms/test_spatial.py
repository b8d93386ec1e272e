"""Spatial augmentation by known moves: mirrored, turned, enlarged, pushed; image and label as one."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from medseg.transforms.settings import Augmentation, Elastic, Flip, Rotate, Scale, Translate
from medseg.transforms.spatial import SpatialParameters, _sampling_grid, apply_spatial, roll, source_size

TURN = Augmentation(rotate=Rotate(1.0, 30.0))
LINEAR = replace(TURN, flip=Flip(0.5, ("R", "A")), scale=Scale(1.0, (0.7, 1.4)))
EVERYTHING = replace(LINEAR, translate=Translate(1.0, 4.0), elastic=Elastic(1.0, 3.0))


class Rigged:
    """A generator whose dice always fall and whose uniform numbers are the given ones."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def random(self):
        return 0.0

    def uniform(self, low, high, size=None):
        return self.numbers.pop(0) if size is None else np.array([self.numbers.pop(0) for _ in range(size)])


def ramp(size, gradient):
    """(1, *size) image with the given slope along each axis, 0 at the centre."""
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in size]
    return sum(g * a for g, a in zip(gradient, torch.meshgrid(*axes, indexing="ij"), strict=True))[None]


def moved(parameters, patch, seed=0):
    """Source image and label of random numbers, and what becomes of them."""
    generator = torch.Generator().manual_seed(seed)
    source = source_size(parameters, patch)
    image, label = torch.rand((2, *source), generator=generator), torch.randint(0, 9, source, generator=generator)
    return image, label, *apply_spatial(image, label.to(torch.uint8), parameters, patch)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 0.7, 5.0)])
def test_same_generator_rolls_the_same_move(spacing):
    a, b, c = (roll(EVERYTHING, spacing, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert np.array_equal(a.matrix, b.matrix)
    assert np.array_equal(a.displacement, b.displacement)
    assert not np.array_equal(a.matrix, c.matrix)
    assert a.displacement.shape == (len(spacing), *[4] * len(spacing))


@pytest.mark.parametrize("patch", [(5, 4), (5, 4, 3)])
def test_what_is_off_changes_nothing(patch):
    parameters = roll(Augmentation(), (0.7, 1.1, 5.0)[: len(patch)], np.random.default_rng(0))
    assert source_size(parameters, patch) == patch
    image, label, new_image, new_label = moved(parameters, patch)
    assert torch.equal(new_image, image)
    assert torch.equal(new_label, label)


@pytest.mark.parametrize(("axes", "patch"), [("R", (5, 4)), ("RA", (4, 4)), ("S", (3, 4, 5)), ("RS", (4, 5, 6))])
def test_flips_are_exact_and_only_along_the_axes_asked_for(axes, patch):
    settings = Augmentation(flip=Flip(1.0, tuple(axes)))
    parameters = roll(settings, (0.7, 0.9, 5.0)[: len(patch)], np.random.default_rng(0))
    mirrored = ["RAS".index(a) for a in axes]
    image, label, new_image, new_label = moved(parameters, patch)
    assert torch.equal(new_image, image.flip([a + 1 for a in mirrored]))
    assert torch.equal(new_label, label.flip(mirrored))


def test_each_axis_is_flipped_in_half_of_the_rolls():
    settings = Augmentation(flip=Flip(0.5, ("R", "A")))
    rng = np.random.default_rng(0)
    signs = np.array([np.diag(roll(settings, (1.0, 1.0, 1.0), rng).matrix) for _ in range(400)])
    assert (signs < 0).mean(axis=0) == pytest.approx([0.5, 0.5, 0.0], abs=0.08)


@pytest.mark.parametrize(
    ("angles", "patch", "plane"),
    [
        ((90,), (5, 5), (0, 1)),
        ((90, 0, 0), (4, 4, 4), (1, 2)),
        ((0, 90, 0), (5, 5, 5), (0, 2)),
        ((0, 0, 90), (4,) * 3, (0, 1)),
    ],
)
def test_right_angle_equals_rot90(angles, patch, plane):
    settings = Augmentation(rotate=Rotate(1.0, 90.0))
    parameters = roll(settings, (2.0,) * len(patch), Rigged(*angles))
    image, label, new_image, new_label = moved(parameters, patch)
    assert torch.allclose(new_image, image.rot90(-1, [a + 1 for a in plane]), atol=1e-5)
    assert torch.equal(new_label, label.rot90(-1, plane))


@pytest.mark.parametrize("patch", [(6, 5), (6, 5, 4)])
def test_scale_two_enlarges_about_the_centre(patch):
    settings = Augmentation(scale=Scale(1.0, (0.5, 2.0)))
    parameters = roll(settings, (1.0,) * len(patch), Rigged(math.log(2.0)))
    source = source_size(parameters, patch)
    assert source == (4, 3, 4)[: len(patch)]  # half of the voxels from centre to centre, of the patch's parity
    gradient = (1.0, 10.0, 100.0)[: len(patch)]
    image, _ = apply_spatial(ramp(source, gradient), torch.zeros(source, dtype=torch.uint8), parameters, patch)
    assert torch.allclose(image, ramp(patch, gradient) / 2, atol=1e-4)


def test_scale_is_drawn_between_its_bounds_and_its_median_is_their_geometric_mean():
    settings = Augmentation(scale=Scale(1.0, (0.5, 2.0)))
    rng = np.random.default_rng(0)
    factors = [1 / roll(settings, (1.0, 1.0), rng).matrix[0, 0] for _ in range(500)]
    assert 0.5 <= min(factors) < 0.52
    assert 1.92 < max(factors) <= 2.0
    assert np.median(factors) == pytest.approx(1.0, abs=0.08)


def test_rotation_on_anisotropic_voxels_is_a_rotation_in_millimetres():
    spacing = np.array([0.7, 0.8, 5.0])
    settings = Augmentation(rotate=Rotate(1.0, 40.0))
    in_voxels = roll(settings, spacing, np.random.default_rng(1)).matrix
    in_mm = in_voxels * spacing[:, None] / spacing[None, :]
    assert np.allclose(in_mm @ in_mm.T, np.eye(3))
    assert np.linalg.det(in_mm) == pytest.approx(1.0)
    assert not np.allclose(in_voxels @ in_voxels.T, np.eye(3))


@pytest.mark.parametrize("by_translation", [True, False])
@pytest.mark.parametrize(("shift", "start"), [((2, -1), (4, 0)), ((0, 3), (0, 6))])
def test_image_and_label_move_by_whole_voxels(shift, start, by_translation):
    pushed = np.array(shift, np.float32)[:, None, None] * np.ones((2, 4, 4), np.float32)
    settings = Augmentation(translate=Translate(1.0, 20.0))
    translated = roll(settings, (2.0, 5.0), Rigged(shift[0] * 2.0, shift[1] * 5.0))  # drawn in millimetres
    parameters = translated if by_translation else SpatialParameters(np.eye(2), np.zeros(2), pushed)
    image, label, new_image, new_label = moved(parameters, (6, 7))
    assert tuple(label.shape) == (6 + 2 * abs(shift[0]), 7 + 2 * abs(shift[1]))
    place = slice(start[0], start[0] + 6), slice(start[1], start[1] + 7)
    assert torch.allclose(new_image, image[(slice(None), *place)], atol=1e-5)
    assert torch.equal(new_label, label[place])


@pytest.mark.parametrize("patch", [(20, 17), (12, 9, 6)])
def test_elastic_moves_label_and_image_together(patch):
    parameters = roll(EVERYTHING, (1.0,) * len(patch), np.random.default_rng(3))
    source = source_size(parameters, patch)
    image = ramp(source, (1.0, 0.7, 0.4)[: len(patch)])
    new_image, new_label = apply_spatial(image, (image[0] > 0).to(torch.uint8), parameters, patch)
    # a voxel at most from the surface, in image units the sum of the slopes, linear and nearest may differ
    sure = new_image[0].abs() > 2.1 / 2 + 1e-3
    assert sure.float().mean() > 0.5
    assert torch.equal(new_label[sure], (new_image[0] > 0).to(torch.uint8)[sure])
    assert not torch.allclose(new_image[0], ramp(patch, (1.0, 0.7, 0.4)[: len(patch)])[0], atol=1.0)


@pytest.mark.parametrize("patch", [(16, 9), (9, 8, 5)])
def test_source_is_large_enough_for_every_roll(patch):
    rng = np.random.default_rng(0)
    for _ in range(60):
        parameters = roll(EVERYTHING, (0.8, 0.8, 3.0)[: len(patch)], rng)
        grid = _sampling_grid(parameters, source_size(parameters, patch), patch)
        assert grid.abs().max() <= 1.0 + 1e-5  # 1 is the centre of the crop's last voxel


@pytest.mark.parametrize("patch", [(16, 9), (9, 8, 5)])
def test_constant_slope_stays_one_under_rotation_and_scale(patch):
    gradient = np.array([1.0, -2.0, 3.0][: len(patch)])
    for seed in range(10):
        parameters = roll(LINEAR, (0.8, 0.8, 3.0)[: len(patch)], np.random.default_rng(seed))
        source = source_size(parameters, patch)
        image, _ = apply_spatial(ramp(source, gradient), torch.zeros(source, dtype=torch.uint8), parameters, patch)
        assert torch.allclose(image, ramp(patch, gradient @ parameters.matrix).float(), atol=1e-3)


def test_ignored_voxels_stay_ignored():
    parameters = roll(TURN, (1.0, 1.0), np.random.default_rng(0))
    source = source_size(parameters, (8, 8))
    _, label = apply_spatial(torch.zeros((1, *source)), torch.full(source, 255, dtype=torch.uint8), parameters, (8, 8))
    assert label.unique().tolist() == [255]
    assert label.dtype == torch.uint8


def test_source_holds_what_smoothing_adds_beyond_the_control_points():
    pushed = np.zeros((2, 4, 4), np.float32)
    pushed[0] = np.array([-60, -60, 60, 60])[:, None]  # the bicubic curve swings to -63 before it turns
    parameters = SpatialParameters(np.eye(2), np.zeros(2), pushed)
    grid = _sampling_grid(parameters, source_size(parameters, (16, 16)), (16, 16))
    assert 0.9 < grid.abs().max() <= 1.0
