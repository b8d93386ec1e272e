"""How studies are brought to the network grid, and what training does to them there: settings, without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from medseg.settings import Fraction, Positive, Range, ordered, settings
from medseg.types import AxisName

Ordered = Annotated[Range, AfterValidator(ordered)]
Spacing = tuple[Positive | None, Positive | None, Positive | None]


@settings
class Preprocessing:
    """The one deterministic chain of training, validation and inference."""

    spacing_mm: Spacing | None = None
    """Voxel spacing of the network grid along R, A, S; null keeps the study's own (for one axis, or for all)."""
    intensity_range_hu: Range = (-175.0, 250.0)
    """HU window; clipped and scaled to [0, 1]."""
    crop_to_body: bool = True
    """Cut the air around the body away."""
    antialias: bool = True
    """Average, rather than pick, voxels when the network grid is coarser than the study's."""
    convention: Literal["medseg", "monai"] = "medseg"
    """monai: the grid and the crop of MONAI's Spacing and CropForeground, for networks trained behind them; it never
    averages. With `inference.placement: steps` the windows are MONAI's too."""

    @field_validator("intensity_range_hu")
    @classmethod
    def _window_is_open(cls, value: Range) -> Range:
        if value[0] >= value[1]:
            raise ValueError(f"the first number must be below the second: {list(value)}")
        return value


@settings
class Flip:
    """Mirror along axes."""

    probability: Fraction = 0.5
    """Chance for each axis."""
    axes: tuple[AxisName, ...] = ("R",)
    """Axes that may be mirrored (of the RAS network grid)."""


@settings
class Rotate:
    """Rotate about the centre."""

    probability: Fraction = 0.3
    degrees: Positive = 15.0
    """Angle drawn from [-degrees, degrees]; in 3D for each of the three axes."""


@settings
class Scale:
    """Zoom about the centre."""

    probability: Fraction = 0.3
    factor: Ordered = (0.8, 1.25)
    """Above 1 enlarges."""


@settings
class Translate:
    """Move; matters where a patch holds the whole study, which is otherwise always centred."""

    probability: Fraction = 0.5
    mm: Positive = 10.0
    """Distance along each axis drawn from [-mm, mm]."""


@settings
class Elastic:
    """Smooth random displacement, 2D and 3D."""

    probability: Fraction = 0.2
    displacement_voxels: Positive = 4.0
    """Standard deviation of the displacement at the control points."""
    control_points: Annotated[int, Field(ge=2)] = 4
    """Control points along each axis; fewer is smoother."""


@settings
class ClassShift:
    """Brighten or darken each class by its own amount, as another contrast phase would."""

    probability: Fraction = 0.3
    shift: Ordered = (-0.15, 0.15)
    """Drawn for each class, in units of the [0, 1] window."""


@settings
class Truncate:
    """Blank the patch above and below some of its slices, as a shorter scan would end; only in mode patch."""

    probability: Fraction = 0.2
    share: Annotated[tuple[Fraction, Fraction], AfterValidator(ordered)] = (0.2, 1.0)
    """Share of the patch's slices that is kept."""


@settings
class Noise:
    """Gaussian noise."""

    probability: Fraction = 0.15
    std: Ordered = (0.0, 0.1)
    """Standard deviation in units of the [0, 1] window."""


@settings
class Blur:
    """Gaussian blur."""

    probability: Fraction = 0.15
    sigma_voxels: Ordered = (0.5, 1.0)


@settings
class Contrast:
    """Multiply the distance to the crop's mean, and shift."""

    probability: Fraction = 0.2
    factor: Ordered = (0.75, 1.25)
    shift: Ordered = (0.0, 0.0)
    """Added to every voxel, in units of the [0, 1] window."""


@settings
class Gamma:
    """Raise the [0, 1] image to a power."""

    probability: Fraction = 0.2
    gamma: Ordered = (0.7, 1.5)


@settings
class LowResolution:
    """Shrink and enlarge again, as a thicker-sliced scanner would have seen it."""

    probability: Fraction = 0.15
    zoom: Ordered = (0.5, 1.0)


@settings
class Augmentation:
    """Training only; a key that is absent or null is off, and `augmentation: null` turns all of a fragment's off."""

    flip: Flip | None = None
    rotate: Rotate | None = None
    scale: Scale | None = None
    translate: Translate | None = None
    elastic: Elastic | None = None
    class_shift: ClassShift | None = None
    truncate: Truncate | None = None
    noise: Noise | None = None
    blur: Blur | None = None
    contrast: Contrast | None = None
    gamma: Gamma | None = None
    low_resolution: LowResolution | None = None
