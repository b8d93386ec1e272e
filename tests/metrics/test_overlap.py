import tracemalloc

import numpy as np
import pytest

from medseg.metrics.overlap import confusion, dataset_overlap, mean_defined, overlap_scores

# One row of eight voxels, worked out by hand:
#   reference     0 0 0 1 1 1 1 2
#   segmentation  0 0 1 1 1 1 0 1
REFERENCE = np.array([0, 0, 0, 1, 1, 1, 1, 2], dtype=np.uint8)
SEGMENTATION = np.array([0, 0, 1, 1, 1, 1, 0, 1], dtype=np.uint8)


def test_rows_are_the_reference_and_columns_the_segmentation():
    np.testing.assert_array_equal(confusion(REFERENCE, SEGMENTATION, 3), [[2, 1, 0], [1, 3, 0], [0, 1, 0]])


def test_scores_are_those_worked_out_by_hand():
    scores = overlap_scores(confusion(REFERENCE, SEGMENTATION, 3))
    np.testing.assert_allclose(scores.dice, [4 / 6, 6 / 9, 0])
    np.testing.assert_allclose(scores.iou, [2 / 4, 3 / 6, 0])
    np.testing.assert_allclose(scores.precision, [2 / 3, 3 / 5, np.nan])
    np.testing.assert_allclose(scores.recall, [2 / 3, 3 / 4, 0])
    np.testing.assert_array_equal(scores.reference_voxels, [3, 4, 1])
    np.testing.assert_array_equal(scores.segmentation_voxels, [3, 5, 0])
    np.testing.assert_allclose(scores.specificity, [4 / 5, 2 / 4, 7 / 7])
    assert scores.accuracy == 5 / 8
    assert scores.fw_iou == pytest.approx((3 * 2 / 4 + 4 * 3 / 6 + 1 * 0) / 8)
    assert scores.miou == pytest.approx(1 / 3)
    assert scores.miou_foreground == pytest.approx(0.25)


def test_dice_and_iou_agree_class_by_class():
    rng = np.random.default_rng(0)
    reference, segmentation = rng.integers(0, 4, (2, 9, 8, 7), dtype=np.uint8)
    scores = overlap_scores(confusion(reference, segmentation, 4))
    np.testing.assert_allclose(scores.dice, 2 * scores.iou / (1 + scores.iou))


def test_a_class_that_both_lack_is_nan_and_counted_and_in_no_mean():
    reference = np.array([0, 0, 1, 1], dtype=np.uint8)
    scores = overlap_scores(confusion(reference, reference, 3))
    assert np.isnan([scores.dice[2], scores.iou[2], scores.precision[2], scores.recall[2]]).all()
    assert (scores.miou, scores.miou_foreground, scores.num_empty) == (1.0, 1.0, 1)


def test_an_empty_reference_gives_zero_and_no_recall():
    scores = overlap_scores(confusion(np.zeros(4, np.uint8), np.array([0, 0, 0, 1], np.uint8), 2))
    assert (scores.dice[1], scores.iou[1], scores.precision[1]) == (0, 0, 0)
    assert np.isnan(scores.recall[1])
    assert scores.num_empty == 0


def test_an_empty_segmentation_gives_zero_and_no_precision():
    scores = overlap_scores(confusion(np.array([0, 0, 0, 1], np.uint8), np.zeros(4, np.uint8), 2))
    assert (scores.dice[1], scores.iou[1], scores.recall[1]) == (0, 0, 0)
    assert np.isnan(scores.precision[1])


def test_voxels_that_the_reference_ignores_count_nowhere():
    reference = np.array([255, 255, 0, 1], dtype=np.uint8)
    segmentation = np.array([0, 1, 0, 1], dtype=np.uint8)
    np.testing.assert_array_equal(confusion(reference, segmentation, 2), [[1, 0], [0, 1]])


def test_nothing_but_ignored_voxels_gives_nan_not_a_number_out_of_nowhere():
    scores = overlap_scores(confusion(np.full(3, 255, np.uint8), np.zeros(3, np.uint8), 2))
    assert np.isnan([scores.accuracy, scores.miou, scores.miou_foreground, scores.fw_iou, *scores.specificity]).all()


def test_specificity_is_undefined_only_where_the_reference_has_nothing_else():
    everywhere = overlap_scores(confusion(np.ones(4, np.uint8), np.array([0, 1, 1, 1], np.uint8), 3))
    assert np.isnan(everywhere.specificity[1])
    np.testing.assert_allclose(everywhere.specificity[[0, 2]], [3 / 4, 1])
    assert everywhere.fw_iou == 3 / 4  # classes that the reference lacks weigh nothing


@pytest.mark.parametrize("order", ["C", "F"])
def test_slabs_put_together_are_the_whole(monkeypatch, order):
    monkeypatch.setattr("medseg.metrics.overlap._SLAB_VOXELS", 50)
    rng = np.random.default_rng(1)
    reference = np.asarray(rng.integers(0, 3, (5, 6, 7)), dtype=np.uint8, order=order)
    segmentation = np.asarray(rng.integers(0, 3, (5, 6, 7)), dtype=np.uint8)
    expected = [[np.sum((reference == r) & (segmentation == s)) for s in range(3)] for r in range(3)]
    np.testing.assert_array_equal(confusion(reference, segmentation, 3), expected)


def test_memory_stays_small_beside_the_arrays():
    reference = np.zeros((256, 256, 400), dtype=np.uint8, order="F")
    tracemalloc.start()
    confusion(reference, reference, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24e6 < reference.nbytes


def test_other_integers_and_masks_are_read_as_class_indices():
    reference = np.array([False, True])
    np.testing.assert_array_equal(confusion(reference, np.array([0, 1], np.int64), 2), [[1, 0], [0, 1]])


@pytest.mark.parametrize(
    ("reference", "segmentation", "message"),
    [
        (np.array([0, 3], np.uint8), np.zeros(2, np.uint8), r"the reference: expected .* 0 to 1, found 3 \(1 voxels\)"),
        (np.zeros(2, np.uint8), np.array([0, 255], np.uint8), "the segmentation: .* found 255"),
        (np.zeros(2, np.int16), np.array([0, -1], np.int16), "the segmentation: .* found -1 to 0"),
        (np.zeros(2, np.float32), np.zeros(2, np.uint8), "the reference: expected integers, found float32"),
        (np.zeros(2, np.uint8), np.zeros(3, np.uint8), r"one shape, found \(2,\) and \(3,\)"),
    ],
)
def test_wrong_arrays_are_refused_with_what_is_wrong(reference, segmentation, message):
    with pytest.raises(ValueError, match=message):
        confusion(reference, segmentation, 2)


def test_an_ignore_index_among_the_classes_is_refused():
    with pytest.raises(ValueError, match="ignore_index"):
        confusion(REFERENCE, SEGMENTATION, 3, ignore_index=1)


def test_the_dataset_iou_weighs_voxels_and_the_mean_of_studies_does_not():
    large = np.array([[0, 0], [10, 90]])  # IoU 0.9
    small = np.array([[0, 0], [9, 1]])  # IoU 0.1
    assert dataset_overlap([large, small]).iou[1] == pytest.approx(91 / 110)
    assert mean_defined(overlap_scores(matrix).iou[1] for matrix in (large, small)) == pytest.approx(0.5)


def test_no_matrix_or_matrices_of_two_sizes_are_refused():
    for matrices in ([], [np.eye(2, dtype=np.int64), np.eye(3, dtype=np.int64)]):
        with pytest.raises(ValueError, match="one size"):
            dataset_overlap(matrices)
    with pytest.raises(ValueError, match="square"):
        overlap_scores(np.zeros((2, 3), np.int64))
