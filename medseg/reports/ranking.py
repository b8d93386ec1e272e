"""Which studies, and which slices of a study, are worth a look: the best, the median and the worst."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation.scores import StudyScores
from medseg.metrics.overlap import mean_defined
from medseg.types import IGNORE_INDEX

Classes = NDArray[np.uint8]
Item = TypeVar("Item")
Rank = Literal["best", "median", "worst"]

_LEAST_AREA_SHARE = 0.1
"""Labelled area of a ranked slice, of the study's largest."""


def pick_best_median_worst(scores: Sequence[StudyScores], label: str | None = None) -> dict[Rank, str]:
    """Choose the studies worth looking at.

    Args:
        scores: studies; those whose Dice is NaN (the label is in neither) cannot be chosen.
        label: ranks by this label's Dice; None by the mean over the foreground labels.

    Returns:
        study_id of the best, the median (the lower of two) and the worst; no study twice, so a single one is only
        ``best``, and two are ``best`` and ``worst``. Empty without a study to rank.
    """
    dice = {
        study.study_id: mean_defined(row.dice for row in study.rows if label in (None, row.label)) for study in scores
    }
    return _picked(sorted((value, study_id) for study_id, value in dice.items() if not math.isnan(value)))


def pick_slices(reference: Classes, segmentation: Classes, axis: int = 2) -> dict[Rank, tuple[int, float]]:
    """Choose the slices worth looking at by their own Dice.

    A slice's score is the mean Dice over the classes that occur in it. Where an organ tapers off, a few voxels decide
    everything: slices whose labelled area is under a tenth of the largest are not ranked.

    Args:
        reference: class indices, three axes, maybe with ``IGNORE_INDEX``, which counts nowhere.
        segmentation: class indices of the same shape.
        axis: that the slices cut.

    Returns:
        (index, Dice) of the best, the median (the lower of two) and the worst slice, of equal ones the larger; no
        slice twice, so there may be one or two. Empty where nothing is labelled.
    """
    counted = reference != IGNORE_INDEX
    truth, segmented = (np.moveaxis(np.where(counted, side, 0), axis, 0) for side in (reference, segmentation))
    areas = np.count_nonzero(truth | segmented, axis=(1, 2))
    shown = np.flatnonzero((areas > 0) & (areas >= _LEAST_AREA_SHARE * areas.max(initial=0)))
    ranked = sorted((_slice_dice(truth[index], segmented[index]), int(areas[index]), int(index)) for index in shown)
    return _picked([(dice, (index, dice)) for dice, _, index in ranked])


def _slice_dice(truth: Classes, segmented: Classes) -> float:
    sides = np.stack([np.bincount(side.ravel(), minlength=256) for side in (truth, segmented)]).sum(axis=0)[1:]
    both = np.bincount(truth[truth == segmented], minlength=256)[1:]
    present = sides > 0
    return float(np.mean(2 * both[present] / sides[present]))


def _picked(ranked: Sequence[tuple[float, Item]]) -> dict[Rank, Item]:
    """From the worst to the best."""
    if not ranked:
        return {}
    picks: dict[Rank, Item] = {"best": ranked[-1][1]}
    if len(ranked) > 2:
        picks["median"] = ranked[(len(ranked) - 1) // 2][1]
    if len(ranked) > 1:
        picks["worst"] = ranked[0][1]
    return picks
