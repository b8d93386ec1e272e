"""The post-processing steps that are tried on validation studies, and what a set of them makes of one study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from medseg.inference.postprocess import postprocess
from medseg.model.classes import Classes
from medseg.model.postprocess import PostProcessing
from medseg.types import IGNORE_INDEX, Grid

MARGINS_MM = (20.0, 10.0, 5.0, 2.0)
"""Margins tried for ``inside``, the gentlest first: of equal gains the first is kept."""

MINIMA_ML = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Volumes tried for ``minimum_ml``, the gentlest first."""

THRESHOLDS = (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9)
"""Probabilities tried for ``thresholds``, the gentlest first."""

Labels = NDArray[np.uint8]
Kind = Literal["thresholds", "keep_largest", "fill_holes", "inside", "minimum_ml"]


@dataclass(frozen=True)
class Step:
    """One candidate.

    Attributes:
        kind: the key of the YAML section.
        label: the class that it concerns.
        of: the organ of ``inside``.
        amount: millimetres of ``inside``, millilitres of ``minimum_ml``, the least probability of ``thresholds``.
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
            case "thresholds":
                return f"thresholds: {self.label} {self.amount:g}"
        return f"{self.kind}: {self.label}"


@dataclass(frozen=True, eq=False)
class Reading:
    """A validation study as it was read.

    Attributes:
        reference: (I, J, K) class indices.
        segmentation: (I, J, K) class indices, as the network gives them.
        grid: of both.
        probabilities: (classes, I, J, K) uint8, foreground probabilities times 255; None where no threshold is tried.
    """

    reference: Labels
    segmentation: Labels
    grid: Grid
    probabilities: Labels | None = None


def candidates(class_names: Sequence[str], *, thresholds: bool = False) -> Iterator[Step]:
    """All steps that are tried, the gentler ones first; thresholds where there are probabilities."""
    for name in class_names:
        if thresholds:
            yield from (Step("thresholds", name, amount=least) for least in THRESHOLDS)
        yield Step("fill_holes", name)
        for organ in class_names:
            if organ != name:
                yield from (Step("inside", name, organ, margin) for margin in MARGINS_MM)
        yield from (Step("minimum_ml", name, amount=minimum) for minimum in MINIMA_ML)
        yield Step("keep_largest", name)


def section(steps: Sequence[Step]) -> dict[str, Any]:
    """Steps as ``inference.postprocess`` of a pipeline; keys without a step are left out."""
    entries: dict[str, Any] = {
        "thresholds": {s.label: s.amount for s in steps if s.kind == "thresholds"},
        "inside": {s.label: {"of": [s.of], "margin_mm": s.amount} for s in steps if s.kind == "inside"},
        "keep_largest": [s.label for s in steps if s.kind == "keep_largest"],
        "fill_holes": [s.label for s in steps if s.kind == "fill_holes"],
        "minimum_ml": {s.label: s.amount for s in steps if s.kind == "minimum_ml"},
    }
    return {key: value for key, value in entries.items() if value}


def possible(steps: Sequence[Step]) -> bool:
    """Whether steps go together: no two classes may lie inside each other."""
    try:
        PostProcessing(**section(steps))
    except ValueError:
        return False
    return True


def cleaned(reading: Reading, settings: PostProcessing, classes: Classes) -> Labels:
    """What some post-processing would have made of a study.

    Args:
        reading: the study; with probabilities if there are thresholds.
        settings: the steps.
        classes: of the study.

    Returns:
        (I, J, K) class indices.
    """
    raw = _decided(reading, settings, classes) if settings.thresholds else reading.segmentation
    return postprocess(raw, reading.grid, settings, classes)


def cut(reading: Reading) -> Reading:
    """Without the empty space around, but for one voxel: no step sees the difference, and all are much faster."""
    reference, segmentation = reading.reference, reading.segmentation
    labelled = (segmentation > 0) | ((reference > 0) & (reference != IGNORE_INDEX))
    if reading.probabilities is not None:
        for probability in reading.probabilities:
            labelled |= probability >= 255.0 * min(THRESHOLDS)
    boxes = ndimage.find_objects(labelled.view(np.uint8))
    box = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in boxes[0]) if boxes else (slice(0, 1),) * 3
    inner = segmentation[box].copy()
    i, j, k = inner.shape
    probabilities = None if reading.probabilities is None else reading.probabilities[:, *box].copy()
    return Reading(reference[box].copy(), inner, Grid((i, j, k), reading.grid.affine), probabilities)


def _decided(reading: Reading, settings: PostProcessing, classes: Classes) -> Labels:
    assert reading.probabilities is not None
    foreground = torch.from_numpy(reading.probabilities)
    background = 255 - foreground.sum(0, dtype=torch.int16).clamp_max(255)  # each is rounded: the sum may be 256
    bytes_ = [(index, 255.0 * least) for index, least in classes.indices(settings.thresholds)]
    return classes.decide(torch.cat([background.to(torch.uint8)[None], foreground]), bytes_).numpy()
