"""What segmenting one study gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A label map on the study's own grid, and what else was asked for.

    Attributes:
        classes: (I, J, K) uint8 class indices; 0 is background, c is ``class_names[c - 1]``.
        class_names: foreground names in class order.
        probabilities: class name -> (I, J, K) uint8, the probability times 255; only the classes that were asked for.
        uncertainty: (I, J, K) uint8, the uncertainty in [0, 1] times 255; None unless asked for.
        notes: what a person should know about how this one was made, a sentence each.
    """

    classes: NDArray[np.uint8]
    class_names: tuple[str, ...]
    probabilities: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    uncertainty: NDArray[np.uint8] | None = None
    notes: tuple[str, ...] = ()
