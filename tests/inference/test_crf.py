"""The mean field is the textbook's, pair by pair, and the bilateral grid is close to it."""

from dataclasses import replace
from math import exp, tanh

import numpy as np
import pytest
import torch

from medseg.inference import crf
from medseg.inference.crf import mean_field
from medseg.model.crf import CRF, PRESETS

LOCAL = CRF(smoothness_mm=2.0, appearance_mm=8.0)


def by_numbers(iterations, *numbers):
    return CRF(iterations=iterations, **dict(zip(PRESETS["deeplab_v1"], numbers, strict=True)))


def random_case(*shape, classes=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randn((classes, *shape), generator=generator), torch.rand(shape, generator=generator)


def phantom(*shape, noise=1.0):
    """Logits that are soft and noisy, an image that shows the edges, and the truth: a box in a box."""
    generator = torch.Generator().manual_seed(1)
    label = torch.zeros(shape, dtype=torch.long)
    for value, share in ((1, 0.2), (2, 0.4)):
        label[tuple(slice(round(n * share), round(n * (1 - share))) for n in shape)] = value
    image = torch.tensor([0.35, 0.6, 0.48])[label] + 0.03 * torch.randn(shape, generator=generator)
    logits = 2.0 * torch.nn.functional.one_hot(label).movedim(-1, 0)
    return logits + noise * torch.randn((3, *shape), generator=generator), image.clamp(0, 1), label


def brute_force(logits, image, spacing_mm, settings):
    """Q by the definition, in numpy and float64."""
    number = settings.number
    values = logits.double().flatten(1).numpy()
    places = np.stack([a.ravel() for a in np.indices(tuple(image.shape))], axis=1) * np.asarray(spacing_mm)
    bright = 255.0 * image.double().numpy().ravel()
    far = ((places[:, None] - places[None]) ** 2).sum(axis=2)
    unlike = (bright[:, None] - bright[None]) ** 2
    kernels = [
        np.exp(-far / (2 * number("appearance_mm") ** 2) - unlike / (2 * number("appearance_intensity") ** 2)),
        np.exp(-far / (2 * number("smoothness_mm") ** 2)),
    ]
    kernels = [k / np.sqrt(k.sum(axis=1)[:, None] * k.sum(axis=1)[None]) for k in kernels]
    scores = values
    for _ in range(settings.iterations):
        q = np.exp(scores) / np.exp(scores).sum(axis=0)
        scores = values + number("appearance_weight") * q @ kernels[0] + number("smoothness_weight") * q @ kernels[1]
    return torch.from_numpy(np.exp(scores) / np.exp(scores).sum(axis=0)).reshape(logits.shape)


def difference(a, b):
    """Mean absolute difference of Q and share of voxels with the same class."""
    a, b = a.softmax(0), b.softmax(0)
    return (a - b).abs().mean().item(), (a.argmax(0) == b.argmax(0)).float().mean().item()


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize(("shape", "spacing_mm"), [((13, 10), (1.0, 2.5)), ((6, 5, 4), (1.0, 2.0, 5.0))])
def test_is_the_definition_pair_by_pair(shape, spacing_mm, iterations):
    logits, image = random_case(*shape)
    settings = replace(LOCAL, iterations=iterations, appearance_intensity=40.0)
    q = mean_field(logits, image, spacing_mm, settings).softmax(0)
    assert torch.allclose(q.double(), brute_force(logits, image, spacing_mm, settings), atol=1e-5)


def test_two_voxels_worked_out_by_hand():
    # 3 mm and 20 of 255 apart; each kernel matrix is [[1, k], [k, 1]] / (1 + k)
    logits, image = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0.5, 0.5 + 20 / 255])
    settings = by_numbers(1, 1.5, 2.0, 4.0, 6.0, 10.0)
    smooth, alike = exp(-9 / 8), exp(-9 / 72 - 400 / 200)
    lead = [tanh(1.0), -tanh(0.5)]  # Q of class 0 less Q of class 1
    first = 2.0 + 1.5 * (lead[0] + smooth * lead[1]) / (1 + smooth) + 4.0 * (lead[0] + alike * lead[1]) / (1 + alike)
    second = -1.0 + 1.5 * (lead[1] + smooth * lead[0]) / (1 + smooth) + 4.0 * (lead[1] + alike * lead[0]) / (1 + alike)
    scores = mean_field(logits, image, (3.0,), settings)
    assert (scores[0] - scores[1]).tolist() == pytest.approx([first, second], rel=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    ("shape", "spacing_mm"), [((48, 48), (0.8, 0.8)), ((40, 30), (5.0, 8.0)), ((16, 14, 9), (4.0, 4.0, 10.0))]
)
def test_grid_is_close_to_all_pairs(shape, spacing_mm, preset):
    logits, image, _ = phantom(*shape)
    for iterations in (1, 10):
        settings = CRF(preset, iterations)
        grid, pairs = (mean_field(logits, image, spacing_mm, settings, exact=exact) for exact in (False, True))
        error, agreement = difference(grid, pairs)
        assert error < 5e-4
        assert agreement > 0.998


def test_grid_is_close_on_an_image_of_noise_too():
    logits, image = random_case(40, 40)
    settings = CRF(iterations=1, appearance_mm=20.0, appearance_intensity=13.0)
    grid, pairs = (mean_field(logits, image, (1.0, 1.0), settings, exact=exact) for exact in (False, True))
    error, agreement = difference(grid, pairs)
    assert error < 5e-4
    assert agreement > 0.998


def test_grid_stands_on_the_voxels_where_they_are_far_apart():
    logits, image = random_case(6, 7, 4)
    settings = by_numbers(1, 0.0, 1.0, 5.0, 3.0, 20.0)
    grid, pairs = (mean_field(logits, image, (1.0, 2.0, 5.0), settings, exact=exact) for exact in (False, True))
    assert difference(grid, pairs)[0] < 2e-3


@pytest.mark.parametrize("exact", [True, False])
def test_without_weights_it_is_the_softmax(exact):
    logits, image = random_case(9, 8, 7)
    settings = CRF(smoothness_weight=0.0, appearance_weight=0.0)
    assert torch.allclose(mean_field(logits, image, (1, 1, 1), settings, exact=exact).softmax(0), logits.softmax(0))


@pytest.mark.parametrize(("exact", "tolerance"), [(True, 1e-6), (False, 1e-2)])
@pytest.mark.parametrize("shape", [(20, 17), (9, 8, 7)])
def test_on_a_uniform_image_appearance_is_smoothness(shape, exact, tolerance):
    logits, _ = random_case(*shape)
    image, spacing_mm = torch.full(shape, 0.3), (1.0, 1.5, 2.0)[: len(shape)]
    by_appearance = by_numbers(3, 0.0, 1.0, 4.0, 5.0, 10.0)
    by_smoothness = by_numbers(3, 4.0, 5.0, 0.0, 1.0, 10.0)
    a, b = (mean_field(logits, image, spacing_mm, s, exact=exact).softmax(0) for s in (by_appearance, by_smoothness))
    assert (a - b).abs().max() < tolerance


@pytest.mark.parametrize("exact", [True, False])
def test_widths_are_millimetres(exact):
    logits, image = random_case(10, 9, 8)
    wide = replace(LOCAL, smoothness_mm=6.0, appearance_mm=24.0)
    near = mean_field(logits, image, (1.0, 1.0, 2.5), LOCAL, exact=exact)
    assert torch.allclose(near, mean_field(logits, image, (3.0, 3.0, 7.5), wide, exact=exact), atol=1e-4)
    assert not torch.allclose(near, mean_field(logits, image, (1.0, 1.0, 1.0), LOCAL, exact=exact), atol=1e-2)


@pytest.mark.parametrize("exact", [True, False])
def test_slices_without_end_between_them_are_slices_by_themselves(exact):
    logits, image = random_case(10, 9, 4)
    settings = replace(LOCAL, iterations=1)
    apart = mean_field(logits, image, (1.0, 1.0, 1e5), settings, exact=exact)
    single = mean_field(logits, image, (1.0, 1.0, 1.0), replace(settings, axes=2), exact=exact)
    assert torch.allclose(apart.softmax(0), single.softmax(0), atol=1e-5 if exact else 2e-2)
    last = mean_field(logits[..., 3], image[..., 3], (1.0, 1.0), settings, exact=exact)
    assert torch.equal(single[..., 3], last)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("shape", [(32, 32), (14, 14, 10)])
def test_every_iteration_brings_a_noisy_box_nearer_to_the_truth(shape, exact):
    logits, image, label = phantom(*shape, noise=1.5)
    scores = [logits, *(mean_field(logits, image, (2.0,) * len(shape), replace(LOCAL, iterations=n), exact=exact)
                        for n in (1, 2, 3, 5, 10))]  # fmt: skip
    right = [(s.argmax(0) == label).float().mean().item() for s in scores]
    assert right == sorted(right)
    assert right[0] < 0.85
    assert right[-1] > 0.97


def test_edges_follow_the_image_and_not_the_logits():
    image = (torch.arange(24) >= 12).float().expand(24, 24)
    logits = torch.stack([torch.zeros(24, 24), (torch.arange(24) - 9.5).expand(24, 24) / 4])  # an edge 2.5 voxels off
    scores = mean_field(logits, image, (1.0, 1.0), CRF(smoothness_weight=0.0))
    assert torch.equal(scores.argmax(0), image.long())


@pytest.mark.parametrize("exact", [True, False, None])
@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 1), (1, 7), (5, 1, 2)])
def test_tiny_inputs(shape, exact):
    logits, image = random_case(*shape)
    scores = mean_field(logits, image, (1.0,) * len(shape), exact=exact)
    assert scores.shape == logits.shape
    assert scores.isfinite().all()
    if image.numel() == 1:  # a voxel alone only hears itself
        assert torch.equal(scores.argmax(0), logits.argmax(0))


def test_one_class_stays_itself():
    logits, image = random_case(5, 4, classes=1)
    assert torch.equal(mean_field(logits, image, (1.0, 1.0)).softmax(0), torch.ones(1, 5, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_computed_in_float32(dtype):
    logits, image, _ = phantom(20, 20)
    scores = mean_field(logits.to(dtype), image, (1.0, 1.0), exact=False)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, mean_field(logits.to(dtype).float(), image, (1.0, 1.0), exact=False))


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("axes", [2, 3])
def test_layout_of_the_inputs_does_not_matter(axes, exact):
    logits, image = random_case(7, 6, 5)
    settings = replace(LOCAL, axes=axes)
    straight = mean_field(logits, image, (1.0, 1.0, 2.0), settings, exact=exact)
    strided = logits.movedim(0, -1).contiguous().movedim(-1, 0), image.movedim(0, -1).contiguous().movedim(-1, 0)
    assert torch.allclose(mean_field(*strided, (1.0, 1.0, 2.0), settings, exact=exact), straight, atol=1e-5)


def test_large_logits_stay_finite_and_inputs_unchanged():
    logits, image = random_case(12, 12)
    before = (1e4 * logits).clone(), image.clone()
    given = before[0].clone()
    assert mean_field(given, image, (1.0, 1.0), exact=False).isfinite().all()
    assert torch.equal(given, before[0])
    assert torch.equal(image, before[1])


def test_blocks_bound_the_memory_and_not_the_result(monkeypatch):
    logits, image = random_case(9, 8, 7)
    whole = mean_field(logits, image, (1.0, 1.0, 2.0), LOCAL, exact=False)
    monkeypatch.setattr(crf, "_BLOCK", 150)
    assert torch.allclose(mean_field(logits, image, (1.0, 1.0, 2.0), LOCAL, exact=False), whole, atol=1e-4)


def test_few_voxels_are_computed_exactly(monkeypatch):
    logits, image = random_case(8, 8)
    monkeypatch.setattr(crf, "EXACT_VOXELS", 64)
    assert torch.equal(mean_field(logits, image, (1, 1)), mean_field(logits, image, (1, 1), exact=True))
    monkeypatch.setattr(crf, "EXACT_VOXELS", 63)
    assert torch.equal(mean_field(logits, image, (1, 1)), mean_field(logits, image, (1, 1), exact=False))


def test_shapes_that_do_not_fit_are_refused():
    logits, image = random_case(5, 4)
    with pytest.raises(ValueError, match=r"found \(3, 5, 4\), \(4, 5\) and 2 spacings"):
        mean_field(logits, image.T, (1.0, 1.0))
    with pytest.raises(ValueError, match="and 3 spacings"):
        mean_field(logits, image, (1.0, 1.0, 1.0))
