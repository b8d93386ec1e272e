import math

import numpy as np
import pytest

from medseg.evaluation.lesions import summarise_lesions
from medseg.evaluation.options import ScoringOptions
from medseg.evaluation.scores import StudyScores, score_arrays

LESIONS = ScoringOptions(surface=False, lesions=("tumour",))


def study(
    study_id: str, reference: list[slice], segmentation: list[slice], options: ScoringOptions = LESIONS
) -> StudyScores:
    """Rods of 1 mm x 1 mm along I, given by where they lie."""
    sides = []
    for rods in (reference, segmentation):
        side = np.zeros((80, 1, 1), np.uint8)
        for rod in rods:
            side[rod] = 1
        sides.append(side)
    return score_arrays(study_id, *sides, ("tumour",), np.eye(4), options)


FOUND_OF_ALL_SIZES = study(
    "a",
    [slice(0, 5), slice(10, 25), slice(30, 60)],  # 5, 15 and 30 mm
    [slice(0, 5), slice(30, 60), slice(70, 72)],  # the 15 mm one missed, one invented
)
NOTHING_TO_FIND = study("b", [], [slice(3, 5)])


def test_lesions_of_all_studies_are_put_together():
    found = summarise_lesions([FOUND_OF_ALL_SIZES, NOTHING_TO_FIND], "tumour")
    assert (found.reference_lesions, found.segmentation_lesions, found.found) == (3, 4, 2)
    assert (found.false_positives, found.false_positives_per_study) == (2, 1.0)
    assert (found.sensitivity, found.precision) == (pytest.approx(2 / 3), 0.5)
    assert found.f1 == pytest.approx(2 * 2 / (3 + 4))
    assert found.mean_dice == pytest.approx(2 / 3)


def test_sizes_go_by_the_references_longest_diameter():
    found = summarise_lesions([FOUND_OF_ALL_SIZES], "tumour")
    groups = [(group.size, group.reference_lesions, group.found) for group in found.groups]
    assert groups == [("<10 mm", 1, 1), ("10-20 mm", 1, 0), (">20 mm", 1, 1)]
    assert [group.sensitivity for group in found.groups] == [1, 0, 1]


def test_the_limits_belong_to_the_middle(monkeypatch):
    from dataclasses import replace

    lesion = FOUND_OF_ALL_SIZES.lesions[0]
    sizes = [replace(lesion, longest_diameter_mm=mm) for mm in (9.999, 10.0, 20.0, 20.001)]
    found = summarise_lesions([replace(FOUND_OF_ALL_SIZES, lesions=tuple(sizes))], "tumour")
    assert [group.reference_lesions for group in found.groups] == [1, 2, 1]


def test_no_lesion_at_all_leaves_shares_undefined_and_counts_at_0():
    found = summarise_lesions([study("c", [], [])], "tumour")
    assert (found.reference_lesions, found.false_positives, found.false_positives_per_study) == (0, 0, 0)
    assert all(math.isnan(x) for x in (found.sensitivity, found.precision, found.f1, found.mean_dice))


def test_a_label_that_was_not_scored_by_lesions_has_no_summary():
    plain = study("d", [slice(0, 5)], [], ScoringOptions(surface=False))
    assert summarise_lesions([plain], "tumour") is None
    assert summarise_lesions([], "tumour") is None
    both = summarise_lesions([plain, NOTHING_TO_FIND], "tumour")
    assert (both.reference_lesions, both.false_positives_per_study) == (0, 1.0)
