"""Stored numbers become HU, by one rule for every format: scaled if need be, and nothing that is not a number."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import StudyError

AIR_HU = -1024
"""HU that NaN and infinite voxels become: the lowest value of the common 12-bit CT range, below air's -1000."""

logger = logging.getLogger(__name__)


def in_hu(stored: NDArray[Any], slope: float = 1.0, inter: float = 0.0) -> tuple[NDArray[Any], int]:
    """Stored numbers -> HU, ``stored * slope + inter``; NaN and infinite voxels become ``AIR_HU``.

    Args:
        stored: integers or floats of any shape; it may be written to.
        slope: HU a stored unit.
        inter: HU of a stored 0.

    Returns:
        int16 where unscaled integers of the type fit, else float32; and how many voxels were not finite.
    """
    voxels = _scaled(stored, slope, inter)
    if voxels.dtype.kind != "f":
        return voxels, 0
    finite = np.isfinite(voxels)
    bad = 0 if finite.all() else int(voxels.size - np.count_nonzero(finite))
    if bad:
        voxels[~finite] = AIR_HU
    return voxels, bad


def require_some_finite(bad: int, size: int, what: str) -> None:
    """Refuse an image of which nothing is left.

    Raises:
        StudyError: all ``size`` voxels were not finite.
    """
    if bad == size:
        raise StudyError(f"{what}: expected HU, found {bad} voxels that all are NaN or infinite; export it again")


def warn_of_air(bad: int, size: int, study_id: str | None) -> None:
    """Log that ``bad`` of ``size`` voxels became air; nothing where there are none."""
    if bad:
        name = f"study {study_id}" if study_id else "an image"
        logger.warning("%s: %d of %d voxels were NaN or infinite and became air (%d HU)", name, bad, size, AIR_HU)


def _scaled(stored: NDArray[Any], slope: float, inter: float) -> NDArray[Any]:
    if (slope, inter) == (1.0, 0.0):
        if stored.dtype.kind != "f" and np.can_cast(stored.dtype, np.int16):
            return stored.astype(np.int16, copy=False)
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is counted as such
            return stored.astype(np.float32, copy=False)
    # float32 holds 24 bits; 32-bit integers and float64 are scaled before they lose what lies beyond
    wide = np.float32 if stored.dtype.itemsize <= 2 or stored.dtype == np.float32 else np.float64
    with np.errstate(over="ignore", invalid="ignore"):
        scaled: NDArray[Any] = stored.astype(wide)
        scaled *= slope
        scaled += inter
        return scaled.astype(np.float32, copy=False)
