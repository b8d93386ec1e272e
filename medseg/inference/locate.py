"""Coarse to fine: a quick look at the whole study says where the organ is, and the full pass runs there alone.

The grid and the windows are those of the full pass; the windows that do not reach well into the box are left out. So
the organ, a margin away from the box's edges, gets nearly the scores that the full pass would have given it; windows
placed anew in the box would have moved its border wherever the network hesitates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.model.inference import Locate
from medseg.transforms.preprocessing import Crop, Preprocessed


def organ_box(
    classes: NDArray[np.uint8], coarse: Preprocessed, wanted: Sequence[int], settings: Locate
) -> tuple[Crop | None, str]:
    """Where the organ is.

    Args:
        classes: (i, j, k) class indices on the coarse network grid.
        coarse: that grid, and the way back from it.
        wanted: class indices looked for.
        settings: see ``Locate``.

    Returns:
        Slices of the study's voxels in RAS order, margin included, within the body's box; or None, where nothing or too
        much was found, and a sentence that says so.
    """
    mask = _pieces(np.isin(classes, list(wanted)), settings.minimum_ml / coarse.grid.voxel_ml)
    if not mask.any():
        return (
            None,
            f"the coarse pass found nothing of at least {settings.minimum_ml:g} ml: the whole body was segmented",
        )
    (organ,) = ndimage.find_objects(mask.astype(np.uint8))
    margins = [settings.margin_mm / mm for mm in coarse.grid.spacing_mm]
    i, j, k = (
        _native(s, margin, length, crop)
        for s, margin, length, crop in zip(organ, margins, classes.shape, coarse.crop, strict=True)
    )
    share = float(np.prod([b.stop - b.start for b in (i, j, k)]) / np.prod([c.stop - c.start for c in coarse.crop]))
    if share > settings.largest_share:
        return None, f"the coarse pass's box holds {share:.0%} of the body's: the whole body was segmented"
    return (i, j, k), f"found by a coarse pass, and segmented in a box of {share:.0%} of the body's"


def _pieces(mask: NDArray[np.bool_], least_voxels: float) -> NDArray[np.bool_]:
    """Without the 26-connected pieces that are smaller."""
    pieces, _ = ndimage.label(mask, structure=np.ones((3, 3, 3), bool))
    large = np.bincount(pieces.ravel()) >= least_voxels
    large[0] = False
    return np.asarray(large[pieces])


def _native(extent: slice, margin: float, length: int, crop: slice) -> slice:
    """A range of the coarse grid, widened by ``margin`` of its voxels, as a range of the study's voxels."""
    scale = (crop.stop - crop.start) / length
    first = crop.start + int(np.floor((extent.start - margin) * scale))
    last = crop.start + int(np.ceil((extent.stop + margin) * scale))
    return slice(max(crop.start, first), min(crop.stop, last))
