"""Surface distances beside hand-worked cases, all pairs of points, MONAI's functions and the published definition."""

from itertools import product

import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from monai.metrics.utils import get_edge_surface_distance

from medseg.metrics.surface import label_surface_scores, surface_scores
from medseg.metrics.surface_elements import element_areas_mm2

SPACING = np.diag([1.0, 2.0, 5.0, 1.0])
OBLIQUE = np.array([[0.6, -0.8, 0, 9], [0.8, 0.6, 0, 8], [0, 0, 2.5, 7], [0, 0, 0, 1.0]]) @ np.diag([0.7, 0.7, 1, 1])
SHEARED = np.array([[-0.7, 0.1, 0.2, 90.5], [0.1, -0.7, 0.9, 80.25], [0.05, 0.2, 2.9, -300.0], [0, 0, 0, 1]])
DEFINITIONS = ("elements", "voxels")


def mask_of(*boxes, shape=(12, 10, 8)):
    mask = np.zeros(shape, bool)
    for box in boxes:
        mask[box] = True
    return mask


def values(scores):
    return np.array([scores.hd_mm, scores.hd95_mm, scores.assd_mm, scores.nsd])


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_two_single_voxels(definition):
    """Both surfaces are one pattern, shifted by 3 voxels of 2 mm along J."""
    a, b = mask_of((4, 2, 3)), mask_of((4, 5, 3))
    scores = surface_scores(a, b, SPACING, tolerance_mm=4.0, definition=definition)
    if definition == "voxels":  # one point each, 6 mm apart
        np.testing.assert_allclose(values(scores), [6, 6, 6, 0])
    else:  # corners at J 1.5, 2.5 and 4.5, 5.5: half of each are 4 mm apart, half 6 mm
        np.testing.assert_allclose(values(scores), [6, 6, 5, 0.5])


def test_shifted_cubes_of_voxels():
    """4 x 4 x 4 voxels of 1 mm shifted by 2 along I, by planes of constant i (16, 12, 12, 16 points of 56).

    The first plane of 16 is 2 mm away. Of the second its 12 are 1 mm away. The third is the other's first plane: its 12
    lie on it. Of the fourth, the other's second, 12 lie on it and the inner 4 are 1 mm away. The other cube mirrors it.
    """
    a, b = mask_of(np.s_[2:6, 3:7, 2:6]), mask_of(np.s_[4:8, 3:7, 2:6])
    scores = surface_scores(a, b, np.eye(4), tolerance_mm=1.0, definition="voxels")
    distances = [2] * 16 + [1] * 12 + [0] * 12 + [0] * 12 + [1] * 4
    np.testing.assert_allclose(values(scores), [2, 2, np.mean(distances), 40 / 56])


def test_shifted_cubes_of_elements():
    """Beams along I of 2 x 2 voxels, 4 and 6 voxels of 3 mm long, that begin at one place."""
    affine = np.diag([3.0, 1.0, 1.0, 1.0])
    short, long = mask_of(np.s_[2:6, 3:5, 2:4]), mask_of(np.s_[2:8, 3:5, 2:4])
    scores = surface_scores(short, long, affine, tolerance_mm=1.0)
    # Planes of 3 x 3 corners, at I 1.5 to 5.5 and 1.5 to 7.5; the inner corner of an inner plane is no surface.
    areas = element_areas_mm2(affine[:3, :3])
    edge, side = areas[0b00010001], areas[0b00110011]
    rim = 4 * edge + 4 * side  # an inner plane: 4 corners of the beam's edges, 4 of its sides
    end = 4 * areas[0b00000001] + 2 * areas[0b00000011] + 2 * areas[0b00000101] + areas[0b00001111]
    apart_short = areas[0b00001111] * 1.0  # only the end's inner corner, 1 mm from the plane's other corners
    apart_long = 3 * rim + 6 * end  # two planes: one 3 mm, the last 6 mm from the short one's end
    total = (2 * end + 3 * rim) + (2 * end + 5 * rim)
    assert scores.hd_mm == pytest.approx(6)
    assert scores.assd_mm == pytest.approx((apart_short + apart_long) / total)
    assert scores.nsd == pytest.approx((total - rim - end) / total)


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("affine", [np.eye(4), SPACING, OBLIQUE, SHEARED], ids=["unit", "spaced", "oblique", "sheared"])
def test_equals_all_pairs_of_points_on_random_masks(affine, definition):
    rng = np.random.default_rng(0)
    for share in (0.01, 0.2, 0.5, 0.9):
        a, b = rng.random((2, 7, 6, 5)) < share
        if a.any() and b.any():
            expected = _all_pairs(a, b, affine, 1.5, definition)
            np.testing.assert_allclose(values(surface_scores(a, b, affine, 1.5, definition)), expected, rtol=1e-9)


def _all_pairs(a, b, affine, tolerance_mm, definition):
    """Both definitions word by word, with loops."""
    points = [(_elements if definition == "elements" else _border)(mask, affine) for mask in (a, b)]
    world = [np.array(list(side)) @ affine[:3, :3].T for side in points]
    apart = np.linalg.norm(world[0][:, None] - world[1][None], axis=2)
    distances = [apart.min(axis=1), apart.min(axis=0)]
    weights = [np.array(list(side.values())) for side in points]
    if definition == "voxels":
        hd95 = max(np.percentile(d, 95) for d in distances)
    else:
        hd95 = max(
            min(x for x in d if w[d <= x].sum() >= 0.95 * w.sum()) for d, w in zip(distances, weights, strict=True)
        )
    d, w = np.concatenate(distances), np.concatenate(weights)
    return d.max(), hd95, (d * w).sum() / w.sum(), w[d <= tolerance_mm].sum() / w.sum()


def _elements(mask, affine):
    areas, padded, found = element_areas_mm2(affine[:3, :3]), np.pad(mask, 1), {}
    for i, j, k in product(*(range(length + 1) for length in mask.shape)):
        code = sum(
            int(padded[i + di, j + dj, k + dk]) << (4 * di + 2 * dj + dk) for di, dj, dk in product((0, 1), repeat=3)
        )
        if 0 < code < 255:
            found[i, j, k] = areas[code]
    return found


def _border(mask, _):
    padded, found = np.pad(mask, 1), {}
    for i, j, k in np.argwhere(mask):
        near = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
        if not all(padded[i + 1 + di, j + 1 + dj, k + 1 + dk] for di, dj, dk in near):
            found[i, j, k] = 1.0
    return found


def blobs(seed, shape=(24, 20, 12), classes=4):
    """Label maps of smooth shapes that touch the border, and the same a little changed."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(rng.normal(size=(classes, *shape)), (0, 3, 3, 2))
    moved = (
        np.roll(fields, (1, -1), axis=(1, 3))
        + 0.3 * ndimage.gaussian_filter(rng.normal(size=fields.shape), (0, 1, 1, 1)) * fields.std()
    )
    return fields.argmax(axis=0).astype(np.uint8), moved.argmax(axis=0).astype(np.uint8)


def one_hot(labels, classes):
    return torch.from_numpy(np.stack([labels == index for index in range(classes)])[None].astype(np.float32))


@pytest.mark.parametrize("spacing_mm", [(1, 1, 1), (1, 2, 5), (0.7, 0.8, 3.1)])
def test_voxels_equal_monai(spacing_mm):
    reference, segmentation = blobs(1)
    y, y_pred = one_hot(reference, 4), one_hot(segmentation, 4)
    ours = label_surface_scores(
        reference, segmentation, 4, np.diag([*spacing_mm, 1.0]), [1.0, 2.0, 3.0], definition="voxels"
    )
    theirs = [
        compute_hausdorff_distance(y_pred, y, spacing=spacing_mm),
        compute_hausdorff_distance(y_pred, y, spacing=spacing_mm, percentile=95),
        compute_average_surface_distance(y_pred, y, symmetric=True, spacing=spacing_mm),
        compute_surface_dice(y_pred, y, [1.0, 2.0, 3.0], spacing=spacing_mm),
    ]
    np.testing.assert_allclose([values(score) for score in ours], torch.cat(theirs).numpy().T, rtol=1e-6)


@pytest.mark.parametrize("spacing_mm", [(1, 1, 1), (1, 2, 5), (0.7, 0.8, 3.1)])
def test_elements_equal_monai_and_the_published_definition(spacing_mm):
    reference, segmentation = blobs(2)
    y, y_pred = one_hot(reference, 4), one_hot(segmentation, 4)
    tolerances_mm = [1.0, 2.0, 3.0]
    ours = label_surface_scores(reference, segmentation, 4, np.diag([*spacing_mm, 1.0]), tolerances_mm)
    nsd = compute_surface_dice(y_pred, y, tolerances_mm, spacing=spacing_mm, use_subvoxels=True)[0]
    np.testing.assert_allclose([score.nsd for score in ours], nsd.numpy(), rtol=1e-5)
    for index, score in enumerate(ours, start=1):
        masks = [torch.from_numpy(array == index) for array in (segmentation, reference)]
        edges, distances, areas = get_edge_surface_distance(
            *masks, spacing=spacing_mm, use_subvoxels=True, symmetric=True
        )
        weights = [area[edge].numpy().astype(float) for area, edge in zip(areas, edges, strict=True)]
        distances = [side.numpy().astype(float) for side in distances]
        means = [(d @ w) / w.sum() for d, w in zip(distances, weights, strict=True)]  # the two that are published
        sizes = [w.sum() for w in weights]
        assert score.hd_mm == pytest.approx(max(side.max() for side in distances), rel=1e-6)
        assert score.hd95_mm == pytest.approx(max(map(_published_hd95, distances, weights)), rel=1e-6)
        assert score.assd_mm == pytest.approx(np.average(means, weights=sizes), rel=1e-5)


def _published_hd95(distances, weights):
    order = np.lexsort((weights, distances))
    share = np.cumsum(weights[order]) / weights.sum()
    return distances[order][min(np.searchsorted(share, 0.95), len(order) - 1)]


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_ignored_voxels_are_in_neither_mask(definition):
    reference, segmentation = blobs(3, classes=3)
    rng = np.random.default_rng(3)
    for ignored in (np.s_[5:12, 4:20, 3:9], rng.random(reference.shape) < 0.2):
        with_ignored = reference.copy()
        with_ignored[ignored] = 255
        found = label_surface_scores(with_ignored, segmentation, 3, SPACING, [2.0, 2.0], definition=definition)
        for index, scores in enumerate(found, start=1):
            a, b = reference == index, segmentation == index
            a[ignored] = b[ignored] = False
            np.testing.assert_array_equal(values(scores), values(surface_scores(a, b, SPACING, 2.0, definition)))


def test_what_is_marked_only_where_the_reference_ignores_is_nothing():
    reference, segmentation = np.zeros((2, 6, 6, 6), np.uint8)
    reference[2:4], segmentation[3] = 255, 1
    (scores,) = label_surface_scores(reference, segmentation, 2, SPACING, [2.0])
    assert np.isnan(values(scores)).all()


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_several_labels_equal_one_by_one(definition):
    reference, segmentation = blobs(4)
    found = label_surface_scores(reference, segmentation, 4, SHEARED, [0.5, 1.0, 2.0], definition=definition)
    for index, (scores, tolerance_mm) in enumerate(zip(found, [0.5, 1.0, 2.0], strict=True), start=1):
        alone = surface_scores(reference == index, segmentation == index, SHEARED, tolerance_mm, definition)
        np.testing.assert_array_equal(values(scores), values(alone))


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_the_order_in_memory_and_of_the_axes_changes_nothing(definition):
    reference, segmentation = blobs(5, classes=2)
    (expected,) = label_surface_scores(reference, segmentation, 2, SHEARED, [1.0], definition=definition)
    fortran = np.asfortranarray(reference), np.asfortranarray(segmentation)
    turned = [np.ascontiguousarray(array.transpose(2, 0, 1)[:, ::-1]) for array in (reference, segmentation)]
    columns = SHEARED[:, [2, 0, 1, 3]] * [1, -1, 1, 1]
    for a, b, affine in ((*fortran, SHEARED), (fortran[0], segmentation, SHEARED), (*turned, columns)):
        (scores,) = label_surface_scores(a, b, 2, affine, [1.0], definition=definition)
        np.testing.assert_allclose(values(scores), values(expected), rtol=1e-9)


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_a_mask_at_the_border_of_the_volume_is_as_one_inside(definition):
    inside = [mask_of(np.s_[3:9, 2:7, 2:6]), mask_of(np.s_[4:9, 2:8, 2:6])]
    cut = [mask[3:9, 2:8, 2:6] for mask in inside]
    assert cut[0][0].any()
    np.testing.assert_allclose(
        values(surface_scores(*cut, SPACING, 1.0, definition)),
        values(surface_scores(*inside, SPACING, 1.0, definition)),
    )


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_equal_masks_are_0_apart_and_swapping_them_changes_nothing(definition):
    a, b = (array == 1 for array in blobs(6, classes=2))
    assert values(surface_scores(a, a, OBLIQUE, 0.0, definition)).tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(
        values(surface_scores(a, b, OBLIQUE, 1.0, definition)), values(surface_scores(b, a, OBLIQUE, 1.0, definition))
    )


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_empty_masks(definition):
    some, empty = mask_of((3, 3, 3)), mask_of()
    assert np.isnan(values(surface_scores(empty, empty, SPACING, 2.0, definition))).all()
    for a, b in ((some, empty), (empty, some)):
        scores = surface_scores(a, b, SPACING, 2.0, definition)
        assert np.isnan([scores.hd_mm, scores.hd95_mm, scores.assd_mm]).all()
        assert scores.nsd == 0.0


def test_monai_gives_infinity_where_a_distance_to_nothing_is_undefined_here():
    empty, some = torch.zeros(1, 2, 6, 6, 6), torch.zeros(1, 2, 6, 6, 6)
    some[:, 1, 2:4, 2:4, 2:4] = 1
    assert compute_hausdorff_distance(some, empty).item() == np.inf
    assert np.isnan(compute_hausdorff_distance(some, empty, percentile=95).item())
    assert compute_average_surface_distance(some, empty, symmetric=True).item() == np.inf
    assert compute_surface_dice(some, empty, [1.0]).item() == 0.0


def test_a_tolerance_is_met_although_headers_round():
    """Five voxels of 0.8 mm are 4 mm, but not with the 0.8 that float32 knows."""
    a, b = mask_of((1, 3, 3)), mask_of((6, 3, 3))
    affine = np.diag([np.float64(np.float32(0.8)), 1, 1, 1])
    assert affine[0, 0] * 5 > 4.0
    assert surface_scores(a, b, affine, 4.0, "voxels").nsd == 1.0
    assert surface_scores(a, b, affine, 3.99, "voxels").nsd == 0.0


def test_wrong_arguments_are_refused():
    labels = np.zeros((4, 4, 4), np.uint8)
    with pytest.raises(ValueError, match=r"one shape, found \(4, 4, 4\) and \(4, 4, 5\)"):
        label_surface_scores(labels, np.zeros((4, 4, 5), np.uint8), 2, SPACING, [1.0])
    with pytest.raises(ValueError, match="each of 2 foreground classes, found 1"):
        label_surface_scores(labels, labels, 3, SPACING, [1.0])
    with pytest.raises(ValueError, match="0 mm or more"):
        label_surface_scores(labels, labels, 2, SPACING, [-1.0])
    with pytest.raises(ValueError, match="elements or voxels, found 'points'"):
        surface_scores(labels > 0, labels > 0, SPACING, definition="points")
    with pytest.raises(ValueError, match="the segmentation: expected integers, found float32"):
        label_surface_scores(labels, labels.astype(np.float32), 2, SPACING, [1.0])
    with pytest.raises(ValueError, match="ignore_index beside the 2 classes"):
        label_surface_scores(labels, labels, 2, SPACING, [1.0], ignore_index=1)
    with pytest.raises(ValueError, match="voxels with a volume"):
        surface_scores(labels > 0, labels > 0, np.diag([1.0, 1.0, 0.0, 1.0]))
