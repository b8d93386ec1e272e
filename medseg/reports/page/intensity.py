"""HU in 8 bits: fine steps where organs differ, coarse ones in air, lung and bone.

A picture format with 8 bits a pixel has 256 values for some 4096 HU. Straight lines between the knots below give soft
tissue (-200 to 300 HU) steps of 3 HU, lung 18, bone 32: each window of the viewer still has more shades than are
needed for a smooth picture. Outside the range values are cut off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

KNOTS: tuple[tuple[float, int], ...] = ((-1024.0, 0), (-200.0, 45), (300.0, 212), (1500.0, 250), (3071.0, 255))
"""(HU, code); the page decodes with the same list."""


def encode_hu(image: NDArray[Any]) -> NDArray[np.uint8]:
    """HU -> codes 0 to 255; NaN becomes air."""
    hu, codes = np.array(KNOTS).T
    return np.asarray(np.rint(np.interp(np.nan_to_num(image, nan=hu[0]), hu, codes)), np.uint8)


def decode_hu(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Codes -> HU, as the page does it."""
    hu, knots = np.array(KNOTS).T
    return np.asarray(np.interp(codes, knots, hu))
