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

from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from typing import Annotated, Literal

from pydantic import Field, field_validator

from medseg.errors import ConfigError
from medseg.settings import NAMES_CLASSES, Positive, settings
from medseg.types import Definition
from medseg.words import did_you_mean, listed

EmptyAs = Literal["nan", "zero", "one"]
"""See the module."""


@settings
class Scoring:
    """By what studies are scored beside overlap and volume."""

    surface: bool = True
    """Hausdorff distances, average surface distance and NSD; false saves their time."""
    tolerance_mm: Annotated[Mapping[str, Positive], NAMES_CLASSES] = field(default_factory=dict)
    """Class -> distance up to which NSD takes two surfaces for one, as in {liver: 7}; other classes get 2 mm."""
    lesions: Annotated[tuple[str, ...], NAMES_CLASSES] = ()
    """Classes whose lesions are matched one to one and counted as found, missed or false."""
    min_overlap: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """IoU from which a lesion of the segmentation may be one of the reference."""
    empty_as: EmptyAs = "nan"
    """What overlap and NSD take where reference and segmentation both lack a class: nan leaves it out of the means."""

    @field_validator("lesions")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"expected each class once, found {list(value)}")
        return value


@settings
class ScoringOptions(Scoring):
    """How studies are scored; the defaults leave lesions alone.

    With ``empty_as`` "one" the distances of a label that both sides lack become 0, and stay NaN otherwise. Means over a
    study's classes (mIoU) and scores of pooled voxels always leave such a label out.
    """

    default_tolerance_mm: Positive = 2.0
    """Of the classes that `tolerance_mm` does not name."""
    definition: Definition = "elements"
    """What a surface is; see `metrics.surface`."""

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


@settings
class EvaluationSettings(Scoring):
    """Which studies `run` segments and scores at the end, and by what beside overlap and volume."""

    split: Literal["auto", "train", "validation", "test"] = "auto"
    """auto: test studies with labels if there are any, else validation, else train."""
    report: bool = True
    """Write report.html, a page with the scores and a viewer of every study; a second or two a study."""

    @property
    def options(self) -> ScoringOptions:
        """How the studies are scored."""
        return ScoringOptions(**{part.name: getattr(self, part.name) for part in fields(Scoring)})
