"""The augmentation section of a pipeline: a key for each kind, null to leave it out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from medseg.config.section import Fraction, Positive, Range, Section, ordered


class FlipConfig(Section):
    """Mirror along axes."""

    probability: Fraction = 0.5
    """Chance for each axis."""
    axes: list[Literal["R", "A", "S"]] = ["R"]
    """Axes that may be mirrored (of the RAS network grid)."""


class RotateConfig(Section):
    """Rotate about the centre."""

    probability: Fraction = 0.3
    degrees: Positive = 15.0
    """Angle drawn from [-degrees, degrees]; in 3D for each of the three axes."""


class ScaleConfig(Section):
    """Zoom about the centre."""

    probability: Fraction = 0.3
    factor: Range = (0.8, 1.25)
    """Above 1 enlarges."""
    _factor = field_validator("factor")(ordered)


class TranslateConfig(Section):
    """Move; matters where a patch holds the whole study, which is otherwise always centred."""

    probability: Fraction = 0.5
    mm: Positive = 10.0
    """Distance along each axis drawn from [-mm, mm]."""


class ElasticConfig(Section):
    """Smooth random displacement, 2D and 3D."""

    probability: Fraction = 0.2
    displacement_voxels: Positive = 4.0
    """Standard deviation of the displacement at the control points."""
    control_points: Annotated[int, Field(ge=2)] = 4
    """Control points along each axis; fewer is smoother."""


class ClassShiftConfig(Section):
    """Brighten or darken each class by its own amount, as another contrast phase would."""

    probability: Fraction = 0.3
    shift: Range = (-0.15, 0.15)
    """Drawn for each class, in units of the [0, 1] window."""
    _shift = field_validator("shift")(ordered)


class TruncateConfig(Section):
    """Blank the patch above and below some of its slices, as a shorter scan would end; only in mode patch."""

    probability: Fraction = 0.2
    share: tuple[Fraction, Fraction] = (0.2, 1.0)
    """Share of the patch's slices that is kept."""
    _share = field_validator("share")(ordered)


class NoiseConfig(Section):
    """Gaussian noise."""

    probability: Fraction = 0.15
    std: Range = (0.0, 0.1)
    """Standard deviation in units of the [0, 1] window."""
    _std = field_validator("std")(ordered)


class BlurConfig(Section):
    """Gaussian blur."""

    probability: Fraction = 0.15
    sigma_voxels: Range = (0.5, 1.0)
    _sigma = field_validator("sigma_voxels")(ordered)


class ContrastConfig(Section):
    """Multiply the distance to the crop's mean, and shift."""

    probability: Fraction = 0.2
    factor: Range = (0.75, 1.25)
    shift: Range = (0.0, 0.0)
    """Added to every voxel, in units of the [0, 1] window."""
    _ranges = field_validator("factor", "shift")(ordered)


class GammaConfig(Section):
    """Raise the [0, 1] image to a power."""

    probability: Fraction = 0.2
    gamma: Range = (0.7, 1.5)
    _gamma = field_validator("gamma")(ordered)


class LowResolutionConfig(Section):
    """Shrink and enlarge again, as a thicker-sliced scanner would have seen it."""

    probability: Fraction = 0.15
    zoom: Range = (0.5, 1.0)
    _zoom = field_validator("zoom")(ordered)


class AugmentationConfig(Section):
    """Training only; a key that is absent or null is off, and `augmentation: null` turns all of a fragment's off."""

    flip: FlipConfig | None = None
    rotate: RotateConfig | None = None
    scale: ScaleConfig | None = None
    translate: TranslateConfig | None = None
    elastic: ElasticConfig | None = None
    class_shift: ClassShiftConfig | None = None
    truncate: TruncateConfig | None = None
    noise: NoiseConfig | None = None
    blur: BlurConfig | None = None
    contrast: ContrastConfig | None = None
    gamma: GammaConfig | None = None
    low_resolution: LowResolutionConfig | None = None
