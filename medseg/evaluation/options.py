"""What is scored beside the overlap, and what a score takes where there is nothing to score.

A label that one side alone lacks is a mistake, and its overlap and its NSD are 0 in every tool named here but one. A
label that both sides lack says nothing about the segmentation, and tools differ (``empty_as``):

    nan   excluded from every mean, and counted: medseg; nnU-Net (0/0 and a mean without NaN); surface-distance's Dice
          and surface Dice; MONAI's SurfaceDiceMetric; panoptica as it comes (it can be told otherwise); MONAI's
          DiceMetric as it comes, which leaves out a label that the reference lacks even where the segmentation has it
    one   a perfect score: MONAI's DiceMetric with ignore_empty=False; MedPy's dc and jc in its newer versions
    zero  the worst score: scripts that add a small number below the line and none above it

Distances of a side without surface are undefined here and counted. surface-distance and panoptica say infinity where
one side alone lacks the label, and MONAI's HausdorffDistanceMetric infinity or NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from medseg.errors import ConfigError
from medseg.metrics.surface import Definition
from medseg.words import did_you_mean, listed

EmptyAs = Literal["nan", "zero", "one"]
"""See the module."""


@dataclass(frozen=True)
class ScoringOptions:
    """How studies are scored; the defaults leave lesions alone.

    Attributes:
        surface: score Hausdorff distances, ASSD and NSD; they cost most of the time.
        tolerance_mm: label -> how far apart two surfaces may be for NSD to call them one.
        default_tolerance_mm: of the labels that ``tolerance_mm`` does not name.
        definition: what a surface is; see ``metrics.surface``.
        lesions: labels whose separate lesions are matched and counted.
        min_overlap: IoU from which two lesions may be one, above 0 and up to 1.
        empty_as: what Dice, IoU, precision, recall and NSD take where both sides lack the label; distances become 0 for
            "one" and stay NaN otherwise. Means over a study's classes (mIoU) and scores of pooled voxels always leave
            such a label out.

    Raises:
        ConfigError: a number out of range, an unknown choice, or a label twice in ``lesions``.
    """

    surface: bool = True
    tolerance_mm: Mapping[str, float] = field(default_factory=dict)
    default_tolerance_mm: float = 2.0
    definition: Definition = "elements"
    lesions: tuple[str, ...] = ()
    min_overlap: float = 0.1
    empty_as: EmptyAs = "nan"

    def __post_init__(self) -> None:
        for name, value in {"every other label": self.default_tolerance_mm, **self.tolerance_mm}.items():
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"tolerance of {name}: expected millimetres above 0, found {value:g}")
        if not 0 < self.min_overlap <= 1:
            raise ConfigError(f"min_overlap: expected an IoU above 0 and up to 1, found {self.min_overlap:g}")
        choices = {"definition": (self.definition, Definition), "empty_as": (self.empty_as, EmptyAs)}
        for key, (choice, kind) in choices.items():
            if choice not in (known := get_args(kind)):
                raise ConfigError(f"{key}: expected {listed(known)}, found {choice!r}{did_you_mean(choice, known)}")
        if len(set(self.lesions)) < len(self.lesions):
            raise ConfigError(f"lesions: expected each label once, found {', '.join(self.lesions)}")

    def require(self, class_names: Sequence[str]) -> None:
        """Refuse labels that are none, before a batch begins.

        Raises:
            ConfigError: ``lesions`` or ``tolerance_mm`` names no class; the nearest is offered.
        """
        for key, names in (("lesions", self.lesions), ("tolerance_mm", self.tolerance_mm)):
            for name in names:
                if name not in class_names:
                    raise ConfigError(
                        f"{key}: expected {listed(class_names)}, found {name!r}{did_you_mean(name, class_names)}"
                    )

    def tolerances_mm(self, class_names: Sequence[str]) -> list[float]:
        """The tolerance of each class, in class order."""
        return [float(self.tolerance_mm.get(name, self.default_tolerance_mm)) for name in class_names]


DEFAULT_OPTIONS = ScoringOptions()
"""Overlap, volumes and surfaces; no lesions."""
