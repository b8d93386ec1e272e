"""How studies are brought to the network grid: settings of a pipeline and of a model, without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from medseg.settings import Positive, Range, settings

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
