"""Choosing post-processing by what it does to validation studies: greedy, and a step that does harm is refused.

A class's Dice is the mean over the studies as everywhere in medseg (``metrics.overlap``): a study where reference and
segmentation both lack the class counts in no mean, one where only one of them has it counts as 0. So clearing a wrong
tumour out of a healthy liver takes a 0 out of the mean. Study by study it counts as better: nothing was to be found.

The steps are chosen on the very studies that they are scored on; the gains are a little too good for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation.candidates import Reading, Step, candidates, cleaned, cut, possible, section
from medseg.metrics.overlap import confusion, mean_defined, overlap_scores
from medseg.model.classes import Classes
from medseg.model.postprocess import PostProcessing

_SAME = 1e-12
"""Means that differ by less differ by rounding."""

Dice = NDArray[np.float64]
"""(studies, classes), background left out; NaN where both lack the class."""


@dataclass(frozen=True)
class Case:
    """One validation study.

    Attributes:
        study_id: the study.
        read: its reference and its raw segmentation.
    """

    study_id: str
    read: Callable[[], Reading]


@dataclass(frozen=True)
class Gain:
    """What a step did to its class on top of the steps kept before it.

    Attributes:
        step: the candidate.
        before: mean Dice without it.
        after: mean Dice with it.
        better: studies in which the class's Dice rose.
        worse: studies in which it fell.
        refused: why it was not kept; "" if it was.
    """

    step: Step
    before: float
    after: float
    better: int
    worse: int
    refused: str = ""

    @property
    def gain(self) -> float:
        """``after`` - ``before``; NaN if the class is in no study."""
        return self.after - self.before


@dataclass(frozen=True)
class Tuning:
    """The outcome.

    Attributes:
        kept: the steps that were kept, in the order in which they were found.
        refused: the others, as they stood when they were last tried.
        studies: how many studies they were tried on.
        thresholds: whether thresholds were among them.
    """

    kept: tuple[Gain, ...]
    refused: tuple[Gain, ...]
    studies: int
    thresholds: bool = False

    @property
    def section(self) -> dict[str, Any]:
        """The kept steps as ``inference.postprocess`` of a pipeline."""
        return section([gain.step for gain in self.kept])


@dataclass
class _Search:
    """What is known so far."""

    kept: list[Gain] = field(default_factory=list)
    refused: dict[Step, Gain] = field(default_factory=dict)


def tune(
    cases: Sequence[Case],
    classes: Classes,
    *,
    thresholds: bool = False,
    min_gain: float = 0.001,
    on_case: Callable[[str], None] = lambda study_id: None,
) -> Tuning:
    """Choose the steps that help.

    Round by round, every candidate is tried on every study together with the steps kept so far. The one that raises the
    mean Dice of its class the most is kept, if by more than ``min_gain`` and if it lowers the mean of no other class by
    more than that.

    Args:
        cases: the validation studies; each is read once a round, and cut to what is labelled.
        classes: of all cases.
        thresholds: whether thresholds are tried; every case then reads probabilities.
        min_gain: in Dice.
        on_case: called with the id after each study of each round.

    Returns:
        Kept and refused steps; nothing kept where nothing helps or there is no study.
    """
    search, names = _Search(), classes.names
    open_ = list(candidates(names, thresholds=thresholds))
    base = _dice(cases, [[]], classes, lambda study_id: None)[0] if cases else np.empty((0, len(names)))
    while open_:
        steps = [gain.step for gain in search.kept]
        open_ = [step for step in open_ if possible([*steps, step])]
        tried = _dice(cases, [[*steps, step] for step in open_], classes, on_case)
        gains = [_gain(s, base, dice, names, min_gain) for s, dice in zip(open_, tried, strict=True)]
        search.refused |= {gain.step: gain for gain in gains}
        helpful = [index for index, gain in enumerate(gains) if not gain.refused]
        if not helpful:
            break
        best = helpful[0]
        for index in helpful[1:]:
            best = index if gains[index].gain > gains[best].gain + _SAME else best
        search.kept.append(search.refused.pop(open_[best]))
        base = tried[best]
        open_ = [step for step in open_ if (step.kind, step.label) != (open_[best].kind, open_[best].label)]
    refused = [_outdone(gain, search.kept) for gain in search.refused.values()]
    return Tuning(tuple(search.kept), tuple(refused), len(cases), thresholds)


def _dice(
    cases: Sequence[Case],
    tried: Sequence[Sequence[Step]],
    classes: Classes,
    on_case: Callable[[str], None],
) -> list[Dice]:
    """The Dice that each set of steps would give."""
    dice = np.full((len(tried), len(cases), len(classes.names)), np.nan)
    sections = [PostProcessing(**section(steps)) for steps in tried]
    for row, case in enumerate(cases):
        reading = cut(case.read())
        for index, settings in enumerate(sections):
            label_map = cleaned(reading, settings, classes)
            dice[index, row] = overlap_scores(confusion(reading.reference, label_map, classes.num_channels)).dice[1:]
        on_case(case.study_id)
    return list(dice)


def _gain(step: Step, base: Dice, dice: Dice, class_names: Sequence[str], min_gain: float) -> Gain:
    own = list(class_names).index(step.label)
    before, after = mean_defined(base[:, own]), mean_defined(dice[:, own])
    # where both lack the class all is well
    change = np.nan_to_num(dice[:, own], nan=1.0) - np.nan_to_num(base[:, own], nan=1.0)
    refused = "" if after - before > min_gain else "gains too little" if after - before > -_SAME else "lowers it"
    if np.isnan(after - before):
        refused = "in no study"
    for other, name in enumerate(class_names):
        loss = mean_defined(base[:, other]) - mean_defined(dice[:, other])
        if other != own and loss > max(min_gain, _SAME):  # what is worth no step is worth no refusal
            refused = f"lowers {name} by {loss:.4f}"
    return Gain(step, before, after, int((change > _SAME).sum()), int((change < -_SAME).sum()), refused)


def _outdone(gain: Gain, kept: Sequence[Gain]) -> Gain:
    """A step that would have helped lost to another one of its kind or its place."""
    if gain.refused:
        return gain
    step = gain.step
    rivals = [str(k.step) for k in kept if (k.step.kind, k.step.label) == (step.kind, step.label)]
    why = f"outdone by {rivals[0]}" if rivals else "contradicts a step that gained more"
    return replace(gain, refused=why)
