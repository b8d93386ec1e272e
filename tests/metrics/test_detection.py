"""Lesions matched one to one: cases drawn by hand, and all matchings tried beside the assignment."""

from itertools import permutations

import numpy as np
import pytest

from medseg.metrics.detection import match_lesions
from medseg.metrics.lesions import lesion_table

SPACING = np.diag([1.0, 2.0, 5.0, 1.0])


def line(*spans, length=40):
    """A mask (length, 1, 1) of runs of voxels."""
    mask = np.zeros((length, 1, 1), bool)
    for first, last in spans:
        mask[first:last] = True
    return mask


def test_found_missed_and_false_lesions_are_those_drawn():
    # reference     ####......####......##....
    # segmentation  ..####....####..##........
    detection = match_lesions(line((0, 4), (10, 14), (20, 22)), line((2, 6), (10, 14), (16, 18)), SPACING)
    assert [(x.index, x.partner) for x in detection.reference] == [(1, 1), (2, 2), (3, 0)]
    assert [(x.index, x.partner) for x in detection.segmentation] == [(1, 1), (2, 2), (3, 0)]
    assert [x.overlap for x in detection.reference] == pytest.approx([2 / 6, 1, 0])
    assert [x.dice for x in detection.segmentation] == pytest.approx([4 / 8, 1, 0])
    assert (detection.true_positives, detection.false_negatives, detection.false_positives) == (2, 1, 1)
    assert (detection.sensitivity, detection.precision, detection.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert detection.mean_dice == pytest.approx((0.5 + 1 + 0) / 3)


def test_lesions_carry_their_measures_in_the_world():
    affine = SPACING.copy()
    affine[:3, 3] = 100, 200, 300
    mask = np.zeros((9, 8, 7), bool)
    mask[4:6, 3, 2] = True
    (lesion,) = match_lesions(mask, np.zeros_like(mask), affine).reference
    assert lesion.centre_mm == pytest.approx((104.5, 206, 310))
    assert lesion.volume_ml == pytest.approx(2 * 10 / 1000)
    assert lesion.longest_diameter_mm == pytest.approx(np.linalg.norm([2, 2, 5]))
    assert (lesion.partner, lesion.overlap, lesion.dice) == (0, 0.0, 0.0)


def test_one_blob_over_two_lesions_finds_the_one_that_it_fits_best():
    detection = match_lesions(line((0, 4), (6, 12)), line((0, 12)), SPACING)
    assert [(x.index, x.partner) for x in detection.reference] == [(1, 1), (2, 0)]
    assert detection.reference[0].overlap == pytest.approx(6 / 12)
    assert (detection.sensitivity, detection.precision) == (0.5, 1.0)


def test_of_two_halves_of_a_lesion_one_is_false():
    detection = match_lesions(line((0, 12)), line((0, 5), (6, 12)), SPACING)
    assert [(x.index, x.partner) for x in detection.segmentation] == [(1, 1), (2, 0)]
    assert (detection.sensitivity, detection.precision) == (1.0, 0.5)


def test_more_pairs_win_over_a_better_one():
    # reference     aaaaaaaa.bbb     a fits A best, but b fits only A: a takes B, b takes A.
    # segmentation  BB.AAAAAAAAA
    detection = match_lesions(line((0, 8), (9, 12)), line((0, 2), (3, 12)), SPACING)
    a, b = detection.reference
    assert (a.partner, b.partner) == (2, 1)
    assert (a.overlap, b.overlap) == pytest.approx((2 / 8, 3 / 9))


def test_an_overlap_at_the_threshold_counts():
    reference, segmentation = line((0, 10)), line((9, 19))  # IoU 1 / 19
    assert match_lesions(reference, segmentation, SPACING, min_overlap=1 / 19).true_positives == 1
    assert match_lesions(reference, segmentation, SPACING, min_overlap=1 / 18).true_positives == 0


def test_lesions_that_touch_at_a_corner_are_one():
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert len(match_lesions(mask, mask, SPACING).reference) == 1


@pytest.mark.parametrize("order", ["C", "F"])
def test_matching_equals_the_best_of_all(order):
    rng = np.random.default_rng(0)
    for _ in range(30):
        masks = [np.asarray(rng.random((7, 6, 1)) < 0.35, order=order) for _ in range(2)]
        detection = match_lesions(*masks, SPACING, min_overlap=0.05)
        pairs, total = _best(*masks, min_overlap=0.05)
        assert detection.true_positives == pairs
        assert sum(x.overlap for x in detection.reference) == pytest.approx(total)
        assert {(x.index, x.partner) for x in detection.reference if x.partner} == {
            (x.partner, x.index) for x in detection.segmentation if x.partner
        }
        assert len(detection.segmentation) == lesion_table(masks[1], SPACING).count


def _best(reference, segmentation, min_overlap):
    """(pairs, total IoU) of the best of all one-to-one matchings, tried one by one."""
    sides = [_components(mask) for mask in (reference, segmentation)]
    iou = np.array([[len(a & b) / len(a | b) for b in sides[1]] for a in sides[0]]).reshape(
        len(sides[0]), len(sides[1])
    )
    iou = iou if iou.shape[0] <= iou.shape[1] else iou.T
    tried = [
        [iou[row, column] for row, column in enumerate(columns) if iou[row, column] >= min_overlap]
        for columns in permutations(range(iou.shape[1]), iou.shape[0])
    ]
    return max((len(found), sum(found)) for found in tried)


def _components(mask):
    left, found = {tuple(int(n) for n in at) for at in np.argwhere(mask)}, []
    while left:
        group, front = set(), [left.pop()]
        while front:
            at = front.pop()
            group.add(at)
            near = {other for other in left if max(abs(a - b) for a, b in zip(at, other, strict=True)) == 1}
            left -= near
            front += near
        found.append(group)
    return found


def test_nothing_to_find_and_nothing_found():
    empty, some = line(), line((3, 5))
    both = match_lesions(empty, empty, SPACING)
    assert (both.reference, both.segmentation) == ((), ())
    assert np.isnan([both.sensitivity, both.precision, both.f1, both.mean_dice]).all()
    false = match_lesions(empty, some, SPACING)
    assert (false.false_positives, false.precision, false.f1) == (1, 0.0, 0.0)
    assert np.isnan([false.sensitivity, false.mean_dice]).all()
    missed = match_lesions(some, empty, SPACING)
    assert (missed.false_negatives, missed.sensitivity, missed.f1, missed.mean_dice) == (1, 0.0, 0.0, 0.0)
    assert np.isnan(missed.precision)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"one shape, found \(40, 1, 1\) and \(41, 1, 1\)"):
        match_lesions(line(), line(length=41), SPACING)
    with pytest.raises(ValueError, match="min_overlap above 0"):
        match_lesions(line(), line(), SPACING, min_overlap=0)
