import numpy as np

from medseg.evaluation.options import ScoringOptions
from medseg.evaluation.scores import StudyScores, score_arrays
from medseg.reports.ranking import pick_best_median_worst, pick_slices


def study(study_id: str, right: int, label_voxels: int = 10) -> StudyScores:
    reference = np.repeat(np.array([0, 1, 2], np.uint8), [10, label_voxels, 10])
    segmentation = reference.copy()
    segmentation[10 + right : 10 + label_voxels] = 0
    return score_arrays(
        study_id, reference, segmentation, ("liver", "tumour"), np.eye(4), ScoringOptions(surface=False)
    )


def test_the_studies_worth_looking_at_are_ranked_by_dice():
    scores = [study("a", 5), study("b", 9), study("c", 1), study("d", 7)]
    expected = {"best": "b", "median": "a", "worst": "c"}
    assert pick_best_median_worst(scores) == expected
    assert pick_best_median_worst(scores, "liver") == expected


def test_no_study_is_picked_twice_and_undefined_ones_not_at_all():
    empty = study("empty", 0, label_voxels=0)
    assert pick_best_median_worst([study("a", 5), study("b", 9), empty], "liver") == {"best": "b", "worst": "a"}
    assert pick_best_median_worst([study("a", 5)]) == {"best": "a"}
    assert pick_best_median_worst([empty], "liver") == {}
    assert pick_best_median_worst([]) == {}


def squares(*widths: int) -> np.ndarray:
    """Axial slices of 10 x 10 with a strip of so many columns each."""
    slices = np.zeros((10, 10, len(widths)), np.uint8)
    for index, width in enumerate(widths):
        slices[:width, :, index] = 1
    return slices


def test_slices_are_ranked_by_their_own_dice():
    reference, segmentation = squares(4, 4, 4, 0), squares(4, 2, 1, 0)
    # 2 * 20 / (40 + 20) and 2 * 10 / (40 + 10)
    assert pick_slices(reference, segmentation) == {"best": (0, 1.0), "median": (1, 2 / 3), "worst": (2, 0.4)}
    turned = np.moveaxis(reference, 2, 0), np.moveaxis(segmentation, 2, 0)
    assert pick_slices(*turned, axis=0)["worst"] == (2, 0.4)


def test_tips_and_ignored_voxels_do_not_rank_a_slice():
    reference, segmentation = squares(4, 4, 0), squares(4, 2, 0)
    reference[0, :3, 2] = 1  # 3 voxels of at most 40, all missed
    assert pick_slices(reference, segmentation) == {"best": (0, 1.0), "worst": (1, 2 / 3)}
    reference[2:4, :, 1] = 255
    assert pick_slices(reference, segmentation)["worst"][1] == 1.0


def test_without_labels_no_slice_is_picked():
    assert pick_slices(squares(0, 0), squares(0, 0)) == {}
    assert pick_slices(squares(1), squares(0)) == {"best": (0, 0.0)}
