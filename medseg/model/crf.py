"""Settings of the fully connected CRF; ``inference.crf`` is what they set up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from medseg.settings import NotNegative, Positive, PositiveInt, settings

Kernel = Literal["smoothness_weight", "smoothness_mm", "appearance_weight", "appearance_mm", "appearance_intensity"]

PRESETS: Mapping[str, Mapping[Kernel, float]] = {
    "deeplab_v1": {
        "smoothness_weight": 3.0,
        "smoothness_mm": 3.0,
        "appearance_weight": 5.0,
        "appearance_mm": 50.0,
        "appearance_intensity": 10.0,
    },
    "deeplab_v2": {
        "smoothness_weight": 3.0,
        "smoothness_mm": 1.0,
        "appearance_weight": 4.0,
        "appearance_mm": 67.0,
        "appearance_intensity": 3.0,
    },
}
"""As released with DeepLab (arXiv:1412.7062 and 1606.00915) for photographs of about 500 pixels: a pixel is read as a
millimetre, which in CT it nearly is. Their intensities are three colours; a grey image written as three equal ones
differs sqrt(3) times as much as here. Tuned for PASCAL VOC: tune them on the validation studies."""


@settings
class CRF:
    """Fully connected CRF over the network's logits: follows the edges of the image; nothing is trained.

    It runs wherever studies are segmented, validation during training included.
    """

    preset: Literal["deeplab_v1", "deeplab_v2"] = "deeplab_v1"
    """Where numbers left null come from, in the order of the keys below: 3, 3 mm, 5, 50 mm, 10 (v1) or 3, 1 mm, 4,
    67 mm, 3 (v2). They were tuned for photographs: try others on the validation studies."""
    iterations: PositiveInt = 10
    """Mean-field steps."""
    smoothness_weight: NotNegative | None = None
    """Pull of near voxels, whatever their intensity; 0 is off."""
    smoothness_mm: Positive | None = None
    """Standard deviation of distance for that pull."""
    appearance_weight: NotNegative | None = None
    """Pull of voxels that are near and alike in intensity; 0 is off."""
    appearance_mm: Positive | None = None
    """Standard deviation of distance for that pull."""
    appearance_intensity: Positive | None = None
    """Standard deviation of intensity for that pull, where preprocessing.intensity_range_hu spans 0 to 255."""
    axes: Literal[2, 3] | None = None
    """2: every axial slice by itself; 3: the whole volume; null follows the network: 3 in mode patch, else 2."""

    def number(self, key: Kernel) -> float:
        """The setting's own number, else the preset's."""
        own: float | None = getattr(self, key)
        return PRESETS[self.preset][key] if own is None else own

    def filled(self, spatial_dims: int) -> CRF:
        """With every number written out, so that a model keeps them should a preset ever change."""
        return replace(
            self,
            axes=2 if (self.axes or spatial_dims) == 2 else 3,
            smoothness_weight=self.number("smoothness_weight"),
            smoothness_mm=self.number("smoothness_mm"),
            appearance_weight=self.number("appearance_weight"),
            appearance_mm=self.number("appearance_mm"),
            appearance_intensity=self.number("appearance_intensity"),
        )
