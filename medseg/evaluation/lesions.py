"""The lesions of many studies in a few numbers: found, missed and invented, over all and by size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from medseg.evaluation.scores import LesionRow, StudyScores

SIZE_LIMITS_MM = (10.0, 20.0)
"""Longest diameters that part small, middle and large lesions; both belong to the middle. 10 mm is the smallest lesion
that RECIST 1.1 measures on CT (Eisenhauer et al. 2009, doi:10.1016/j.ejca.2008.10.026)."""


@dataclass(frozen=True)
class LesionGroup:
    """Reference lesions of one size.

    Attributes:
        size: by the longest diameter: "<10 mm", "10-20 mm" or ">20 mm".
        reference_lesions: how many there are.
        found: how many of them have a partner in the segmentation.
        sensitivity: share that was found; NaN without any.
    """

    size: str
    reference_lesions: int
    found: int
    sensitivity: float


@dataclass(frozen=True)
class LesionSummary:
    """The lesions of one label over all studies, put together: a study with many weighs more.

    Attributes:
        reference_lesions: in all references.
        segmentation_lesions: in all segmentations.
        found: reference lesions with a partner.
        false_positives: segmentation lesions without one.
        false_positives_per_study: mean over the studies.
        sensitivity: found / reference_lesions; NaN without any.
        precision: share of the segmentation's lesions that are one; NaN without any.
        f1: of both; NaN without any lesion.
        mean_dice: mean Dice over the reference's lesions, 0 for a missed one; NaN without any.
        groups: the reference's lesions by size, small ones first.
    """

    reference_lesions: int
    segmentation_lesions: int
    found: int
    false_positives: int
    false_positives_per_study: float
    sensitivity: float
    precision: float
    f1: float
    mean_dice: float
    groups: tuple[LesionGroup, ...]


def summarise_lesions(scores: Sequence[StudyScores], label: str) -> LesionSummary | None:
    """Summarise the lesions of a label; None if no study was scored by its lesions.

    Studies without lesion scores, such as those of an older evaluation, count in nothing here.
    """
    scored = [s for s in scores if any(r.label == label and r.reference_lesions is not None for r in s.rows)]
    if not scored:
        return None
    lesions = [lesion for study in scored for lesion in study.lesions if lesion.label == label]
    reference = [lesion for lesion in lesions if lesion.side == "reference"]
    segmentation = [lesion for lesion in lesions if lesion.side == "segmentation"]
    found = sum(lesion.partner > 0 for lesion in reference)
    false_positives = sum(lesion.partner == 0 for lesion in segmentation)
    return LesionSummary(
        reference_lesions=len(reference),
        segmentation_lesions=len(segmentation),
        found=found,
        false_positives=false_positives,
        false_positives_per_study=false_positives / len(scored),
        sensitivity=_share(found, len(reference)),
        precision=_share(len(segmentation) - false_positives, len(segmentation)),
        f1=_share(2 * found, len(reference) + len(segmentation)),
        mean_dice=_share(sum(lesion.dice for lesion in reference), len(reference)),
        groups=tuple(_group(reference, *limits) for limits in _limits()),
    )


def _limits() -> list[tuple[str, float, float]]:
    low, high = SIZE_LIMITS_MM
    below, above = math.nextafter(low, -math.inf), math.nextafter(high, math.inf)
    return [
        (f"<{low:g} mm", -math.inf, below),
        (f"{low:g}-{high:g} mm", low, high),
        (f">{high:g} mm", above, math.inf),
    ]


def _group(reference: Sequence[LesionRow], size: str, low: float, high: float) -> LesionGroup:
    partnered = [lesion.partner > 0 for lesion in reference if low <= lesion.longest_diameter_mm <= high]
    return LesionGroup(size, len(partnered), sum(partnered), _share(sum(partnered), len(partnered)))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
