"""Intensity augmentation, each by numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch

from medseg.transforms.intensity import augment_intensity, blur, contrast, gamma, low_resolution
from medseg.transforms.settings import Augmentation, Blur, Contrast, Gamma, LowResolution, Noise

EVERYTHING = Augmentation(
    noise=Noise(0.5, (0.0, 0.1)),
    blur=Blur(0.5, (0.5, 1.0)),
    contrast=Contrast(0.5, (0.5, 1.5), (-0.2, 0.2)),
    gamma=Gamma(0.5, (0.7, 1.5)),
    low_resolution=LowResolution(0.5, (0.5, 1.0)),
)


def line(*values):
    """One channel of len(values) x 3 voxels, the same in every column."""
    return torch.tensor(values)[None, :, None].expand(1, -1, 3).contiguous()


@pytest.fixture
def image():
    return torch.rand((2, 8, 7, 6), generator=torch.Generator().manual_seed(0))


def test_what_is_off_changes_nothing(image):
    assert torch.equal(augment_intensity(image, Augmentation(), np.random.default_rng(0)), image)


@pytest.mark.parametrize("dims", [2, 3])
def test_same_generator_gives_the_same_plain_tensor_in_the_window(image, dims):
    image = image if dims == 3 else image[..., 0]
    before = image.clone()
    different = 0
    for seed in range(12):
        a, b = (augment_intensity(image, EVERYTHING, np.random.default_rng(seed)) for _ in range(2))
        assert torch.equal(a, b)
        assert type(a) is torch.Tensor  # not MONAI's, which would carry its bookkeeping into the batches
        assert (a.shape, a.dtype) == (image.shape, torch.float32)
        assert 0 <= a.min() <= a.max() <= 1
        different += not torch.equal(a, image)
    assert different >= 10
    assert torch.equal(image, before)


def test_contrast_stretches_about_the_mean_and_shifts():
    assert torch.allclose(contrast(line(0.0, 0.5, 1.0), 0.5, 0.1), line(0.35, 0.6, 0.85))


def test_result_is_clipped_as_the_window_clips():
    settings = Augmentation(contrast=Contrast(1.0, (2.0, 2.0), (0.1, 0.1)))
    result = augment_intensity(line(0.0, 0.5, 1.0), settings, np.random.default_rng(0))
    assert torch.allclose(result, line(0.0, 0.6, 1.0))


def test_gamma_works_between_the_images_own_bounds():
    result = gamma(line(0.2, 0.6, 1.0), 2.0)
    assert torch.allclose(result, line(0.2, 0.4, 1.0), atol=1e-5)  # 0.2 + 0.8 * 0.5^2
    assert torch.equal(gamma(line(0.5, 0.5), 2.0), line(0.5, 0.5))


def test_low_resolution_picks_and_joins_by_lines():
    result = low_resolution(line(0.9, 0.0, 0.9, 0.8), 0.5)  # the second and fourth are picked
    assert torch.allclose(result, line(0.0, 0.2, 0.6, 0.8))
    assert low_resolution(torch.rand(1, 3, 2, 1), 0.1).shape == (1, 3, 2, 1)


def test_noise_has_the_standard_deviation_asked_for():
    settings = Augmentation(noise=Noise(1.0, (0.05, 0.05)))
    noise = augment_intensity(torch.full((1, 64, 64), 0.5), settings, np.random.default_rng(0)) - 0.5
    assert noise.std() == pytest.approx(0.05, rel=0.05)
    assert noise.mean() == pytest.approx(0.0, abs=0.003)


def test_blur_of_a_point_is_the_gaussian_of_each_voxel():
    image = torch.zeros((1, 11, 11, 11))
    image[0, 5, 5, 5] = 1.0
    share = [(math.erf((x + 0.5) / 0.8 / 2**0.5) - math.erf((x - 0.5) / 0.8 / 2**0.5)) / 2 for x in range(4)]
    result = blur(image, 0.8)[0]
    assert result[5:9, 5, 5].tolist() == pytest.approx([s * share[0] ** 2 for s in share], abs=1e-4)
    assert result[6, 4, 3] == pytest.approx(share[1] ** 2 * share[2], abs=1e-5)


@pytest.mark.parametrize("shape", [(1, 6, 5), (1, 4, 3, 2)])
def test_blur_does_not_darken_the_edges(shape):
    assert torch.allclose(
        blur(torch.full(shape, 0.8), 1.5), torch.full(shape, 0.8), atol=1e-3
    )  # MONAI cuts the tails off


def test_blur_of_no_width_changes_nothing(image):
    assert torch.allclose(blur(image, 0.0), image)
