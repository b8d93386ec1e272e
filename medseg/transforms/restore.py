"""From logits on the network grid back to class indices on the study's own grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medseg.study.geometry import reorient_like
from medseg.transforms.preprocessing import Preprocessed
from medseg.transforms.resampling import argmax_resampled


def restore(logits: Tensor, study: Preprocessed) -> NDArray[np.uint8]:
    """Interpolate logits to the study's own voxels, take the arg-max, put the crop and the axis order back.

    Args:
        logits: (C, I', J', K') on ``study.grid``.
        study: what ``preprocess`` returned for this study.

    Returns:
        (I, J, K) uint8 class indices on ``study.native``; outside the crop background.
    """
    extent = tuple(s.stop - s.start for s in study.crop)
    inside = argmax_resampled(logits, (extent[0], extent[1], extent[2]))
    whole = np.zeros(study.ras_shape, dtype=np.uint8)
    whole[study.crop] = inside
    return np.ascontiguousarray(reorient_like(whole, study.native.affine))
