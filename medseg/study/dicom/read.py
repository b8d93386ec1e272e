"""A DICOM series as one volume in HU, or a reason why it is none.

Slices are put in order and proven even (``dicom_geometry``), decoded one by one (``dicom_pixels``), and straightened
where the gantry was tilted (``tilt``). I runs along a row, J down the rows, K across the slices.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import StudyError
from medseg.study.dicom.geometry import Stack, stack_slices
from medseg.study.dicom.header import Header
from medseg.study.dicom.pixels import read_slice, require_grey_slice
from medseg.study.dicom.series import Scan, images_of, named, scan_files, why_no_ct
from medseg.study.dicom.tilt import moved, straight_grid
from medseg.types import DicomSource, Grid, Volume

logger = logging.getLogger(__name__)

_MOST_NAMED = 3


def read_series(folder: Path, series_uid: str = "", study_id: str = "") -> Volume:
    """One series of a folder.

    Localisers are left out, slices that are there twice are taken once, the slices of a tilted gantry are resampled to
    a straight grid; each is logged. Values below air and padding become air.

    Args:
        folder: its files lie right in it; others may lie beside them.
        series_uid: which series (``dicom_series.NO_UID`` for files that name none), or its number; "" where there is
            only one.
        study_id: names the study in messages and in the log.

    Returns:
        voxels int16 where all slices are whole numbers that fit, else float32; ``source`` lists the files in K order.

    Raises:
        StudyError: no such series, several, not CT or MR, several phases, or a slice that cannot be decoded.
        GeometryError: slices missing, uneven, of several orientations ...: as ``stack_slices``.
    """
    what = f"study {study_id} ({folder})" if study_id else str(folder)
    headers = _the_series(folder, series_uid, what)
    images = images_of(headers)
    if len(images) < len(headers):
        logger.info("%s: %d localisers left out of the series", what, len(headers) - len(images))
    _require_one_phase(images, what)
    _warn_of_units(images, what)
    stack = stack_slices(images, what)
    slices = [_the_one(group, what) for group in stack.slices]
    if len(slices) == 1:
        logger.warning("%s: a single slice; its thickness of %g mm counts as its height", what, images[0].thickness)
    grid, voxels = _stacked(slices, stack, what)
    return Volume(voxels, grid, source=DicomSource(tuple(h.path for h in slices), straightened=any(stack.shift_px)))


def _the_series(folder: Path, series_uid: str, what: str) -> list[Header]:
    if not folder.is_dir():
        raise StudyError(f"{what}: expected a folder of DICOM files, found no folder")
    scan = scan_files(folder.iterdir())
    chosen = _chosen(scan, series_uid, what)
    if why := why_no_ct(chosen):
        raise StudyError(f"{what}: expected CT slices, found {named(chosen)}: {why}")
    if scan.broken:  # the first or the last slices may be among them, and nobody would miss those
        first, why = next(iter(scan.broken.items()))
        raise StudyError(
            f"{what}: {len(scan.broken)} broken files lie among its slices, maybe slices too ({first.name}: {why}); "
            "copy the series again, whole, or take out what does not belong to it"
        )
    return chosen


def _chosen(scan: Scan, series: str, what: str) -> list[Header]:
    """The series of this UID or number; without one the only series, or the first where none is a CT."""
    if series in scan.series:
        return scan.series[series]
    if series and not series.isdigit():
        raise StudyError(f"{what}: the series is no longer in the folder; run again to look anew")
    if not scan.series:
        found = f"{len(scan.broken)} broken files" if scan.broken else "none"
        raise StudyError(f"{what}: expected DICOM images, found {found}")
    usable = [headers for headers in scan.series.values() if not why_no_ct(headers)] or [*scan.series.values()][:1]
    chosen = [headers for headers in usable if not series or headers[0].series_number.lstrip("0") == series.lstrip("0")]
    if len(chosen) == 1:
        return chosen[0]
    names = [named(headers) for headers in chosen or usable]
    listed = ", ".join(names[:_MOST_NAMED]) + (f" and {len(names) - _MOST_NAMED} more" * (len(names) > _MOST_NAMED))
    if series:
        raise StudyError(
            f"{what}: expected one series with the number {series}, found {listed}; name one that is there, or its "
            "SeriesInstanceUID in place of the number"
        )
    raise StudyError(
        f"{what}: expected one series, found {listed}; give each a folder of its own, name one in a manifest by its "
        "number (folder#4), or give the folder itself as --input to segment them all"
    )


def _require_one_phase(images: Sequence[Header], what: str) -> None:
    phases = {h.temporal_position for h in images}
    if len(phases) > 1:
        raise StudyError(
            f"{what}: expected one volume, found {len(phases)} temporal positions in {len(images)} files (4D); "
            "export the phase to be segmented as a series of its own"
        )


def _warn_of_units(images: Sequence[Header], what: str) -> None:
    modality = images[0].modality
    if modality != "CT":
        logger.warning("%s: modality %s, not CT: its values are taken as HU", what, modality or "not named")
    elif any(h.intercept is None for h in images):
        logger.warning("%s: no RescaleIntercept: the stored values are taken as HU", what)


def _the_one(group: Sequence[Header], what: str) -> Header:
    """The slice at a position; the same slice again is dropped, another one is refused."""
    first, *others = group
    if others:
        pixels = read_slice(first, what)
        for other in others:
            if not np.array_equal(pixels, read_slice(other, what)):
                raise StudyError(
                    f"{what}: {len(group)} different slices at one position ({first.path.name}, {other.path.name}); "
                    "the series holds several phases or reconstructions: put each into a folder of its own"
                )
        logger.warning("%s: %d copies of slice %s dropped", what, len(others), first.path.name)
    return first


def _stacked(slices: Sequence[Header], stack: Stack, what: str) -> tuple[Grid, NDArray[Any]]:
    grid, start = straight_grid(slices[0].columns, slices[0].rows, len(slices), stack.shift_px, stack.affine)
    tilted = any(stack.shift_px)
    if tilted:
        logger.warning(
            "%s: gantry tilted by %.1f degrees: slices moved by (%.3f, %.3f) pixels each onto a straight grid",
            what,
            stack.tilt_deg,
            *stack.shift_px,
        )
    for header in slices:
        require_grey_slice(header, what)
    voxels: NDArray[Any] = np.empty(grid.shape, np.int16, order="F")
    for k, header in enumerate(slices):
        plane = read_slice(header, what)
        if plane.dtype != np.int16 and voxels.dtype == np.int16:
            voxels = voxels.astype(np.float32)  # the slices so far stay exact
        if tilted:
            offset = (start[0] + k * stack.shift_px[0], start[1] + k * stack.shift_px[1])
            plane = moved(plane, offset, grid.shape[:2])
            plane = np.rint(plane) if voxels.dtype == np.int16 else plane
        voxels[:, :, k] = plane
    return grid, voxels
