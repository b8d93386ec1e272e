"""Choosing post-processing by what it does to validation studies: greedy, and a step that does harm is refused.

A class's Dice is the mean over the studies as everywhere in medseg (``metrics.overlap``): a study where reference and
segmentation both lack the class counts in no mean, one where only one of them has it counts as 0. So clearing a wrong
tumour out of a healthy liver takes a 0 out of the mean. Study by study it counts as better: nothing was to be found.

The steps are chosen on the very studies that they are scored on; the gains are a little too good for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.errors import ConfigError
from medseg.inference.postprocess import by_name, postprocess
from medseg.metrics.overlap import confusion, mean_defined, overlap_scores
from medseg.types import IGNORE_INDEX, Grid

MARGINS_MM = (20.0, 10.0, 5.0, 2.0)
"""Margins tried for ``inside``, the gentlest first: of equal gains the first is kept."""

MINIMA_ML = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Volumes tried for ``minimum_ml``, the gentlest first."""

_SAME = 1e-12
"""Means that differ by less differ by rounding."""

Dice = NDArray[np.float64]
"""(studies, classes), background left out; NaN where both lack the class."""

Labels = NDArray[np.uint8]
Kind = Literal["keep_largest", "fill_holes", "inside", "minimum_ml"]


@dataclass(frozen=True)
class Case:
    """One validation study.

    Attributes:
        study_id: the study.
        read: its reference and its raw segmentation, (I, J, K) class indices each, and their grid.
    """

    study_id: str
    read: Callable[[], tuple[Labels, Labels, Grid]]


@dataclass(frozen=True)
class Step:
    """One candidate.

    Attributes:
        kind: the key of the YAML section.
        label: the class that it concerns.
        of: the organ of ``inside``.
        amount: millimetres of ``inside``, millilitres of ``minimum_ml``.
    """

    kind: Kind
    label: str
    of: str = ""
    amount: float = 0.0

    def __str__(self) -> str:
        match self.kind:
            case "inside":
                return f"inside: {self.label} in {self.of} + {self.amount:g} mm"
            case "minimum_ml":
                return f"minimum_ml: {self.label} {self.amount:g} ml"
        return f"{self.kind}: {self.label}"


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
    """

    kept: tuple[Gain, ...]
    refused: tuple[Gain, ...]
    studies: int

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
    class_names: Sequence[str],
    *,
    min_gain: float = 0.001,
    on_case: Callable[[str], None] = lambda study_id: None,
) -> Tuning:
    """Choose the steps that help.

    Round by round, every candidate is tried on every study together with the steps kept so far. The one that raises the
    mean Dice of its class the most is kept, if by more than ``min_gain`` and if it lowers the mean of no other class.

    Args:
        cases: the validation studies; each is read once a round, and cut to what is labelled.
        class_names: foreground names, class 1 first.
        min_gain: in Dice.
        on_case: called with the id after each study of each round.

    Returns:
        Kept and refused steps; nothing kept where nothing helps or there is no study.
    """
    found = _Search()
    open_ = list(candidates(class_names))
    base = _dice(cases, [{}], class_names, lambda study_id: None)[0] if cases else np.empty((0, len(class_names)))
    while open_:
        steps = [gain.step for gain in found.kept]
        open_ = [step for step in open_ if _possible([*steps, step], class_names)]
        tried = _dice(cases, [section([*steps, step]) for step in open_], class_names, on_case)
        gains = [_gain(s, base, dice, class_names, min_gain) for s, dice in zip(open_, tried, strict=True)]
        found.refused |= {gain.step: gain for gain in gains}
        helpful = [index for index, gain in enumerate(gains) if not gain.refused]
        if not helpful:
            break
        best = helpful[0]
        for index in helpful[1:]:
            best = index if gains[index].gain > gains[best].gain + _SAME else best
        found.kept.append(found.refused.pop(open_[best]))
        base = tried[best]
        open_ = [step for step in open_ if (step.kind, step.label) != (open_[best].kind, open_[best].label)]
    refused = [_outdone(gain, found.kept) for gain in found.refused.values()]
    return Tuning(tuple(found.kept), tuple(refused), len(cases))


def candidates(class_names: Sequence[str]) -> Iterator[Step]:
    """All steps that are tried, the gentler ones first."""
    for name in class_names:
        yield Step("fill_holes", name)
        for organ in class_names:
            if organ != name:
                yield from (Step("inside", name, organ, margin) for margin in MARGINS_MM)
        yield from (Step("minimum_ml", name, amount=minimum) for minimum in MINIMA_ML)
        yield Step("keep_largest", name)


def section(steps: Sequence[Step]) -> dict[str, Any]:
    """Steps as ``inference.postprocess`` of a pipeline; keys without a step are left out."""
    entries: dict[str, Any] = {
        "inside": {s.label: {"of": [s.of], "margin_mm": s.amount} for s in steps if s.kind == "inside"},
        "keep_largest": [s.label for s in steps if s.kind == "keep_largest"],
        "fill_holes": [s.label for s in steps if s.kind == "fill_holes"],
        "minimum_ml": {s.label: s.amount for s in steps if s.kind == "minimum_ml"},
    }
    return {key: value for key, value in entries.items() if value}


def _possible(steps: Sequence[Step], class_names: Sequence[str]) -> bool:
    try:
        by_name(section(steps), class_names)
    except ConfigError:  # each inside the other
        return False
    return True


def _dice(
    cases: Sequence[Case],
    sections: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    on_case: Callable[[str], None],
) -> list[Dice]:
    """The Dice that each section would give."""
    settings = [by_name(entries, class_names) for entries in sections]
    tried = np.full((len(settings), len(cases), len(class_names)), np.nan)
    for row, case in enumerate(cases):
        reference, segmentation, grid = _cut(*case.read())
        for index, setting in enumerate(settings):
            cleaned = postprocess(segmentation, grid, setting)
            scores = overlap_scores(confusion(reference, cleaned, len(class_names) + 1))
            tried[index, row] = scores.dice[1:]
        on_case(case.study_id)
    return list(tried)


def _cut(reference: Labels, segmentation: Labels, grid: Grid) -> tuple[Labels, Labels, Grid]:
    """Without the empty space around, but for one voxel: no step sees the difference, and all are much faster."""
    labelled = (segmentation > 0) | ((reference > 0) & (reference != IGNORE_INDEX))
    found = ndimage.find_objects(labelled.view(np.uint8))
    box = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in found[0]) if found else (slice(0, 1),) * 3
    cut = segmentation[box].copy()
    i, j, k = cut.shape
    return reference[box].copy(), cut, Grid((i, j, k), grid.affine)


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
        if other != own and loss > _SAME:
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
