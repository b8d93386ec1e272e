"""Read an image, its grid, or a label map; write a segmentation on exactly the study's grid.

Images come in HU, label maps as class indices, both as (I, J, K) in the file's own axis order (Fortran memory order)
with the affine that nibabel would take: the sform if its code is above 0, else the qform, else the spacing alone.
A segmentation copies the image's header: shape, affine, qform and sform with their codes, and units stay bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nibabel import Nifti1Header, Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medseg.errors import GeometryError, StudyError
from medseg.study.geometry import check_affine, require_same_grid
from medseg.study.hounsfield import AIR_HU, in_hu, require_some_finite, warn_of_air
from medseg.study.labels import apply_label_map
from medseg.study.nifti_bytes import read_header, read_stored, shape3, write_stored
from medseg.types import Grid, LabelMap, Volume

__all__ = [
    "AIR_HU",
    "apply_label_map",
    "read_grid",
    "read_image",
    "read_image_counted",
    "read_labels",
    "write_fractions",
    "write_image",
    "write_labels",
]

_LARGEST_NIFTI1_AXIS = 32767
_FREE_TEXT = {"descrip": b"medseg", "db_name": b"", "aux_file": b"", "data_type": b"", "intent_name": b""}
"""Header fields in which other programs leave free text, patients' names among it, and what we write there."""

_FRACTION = float(np.nextafter(np.float32(1 / 255), np.float32(0)))
"""1/255 as the header's float32, rounded down: 255 of them are 1 and not a little more."""


def read_grid(path: Path, study_id: str | None = None) -> Grid:
    """Shape and affine from the header alone; the voxels are not read.

    Raises:
        StudyError: missing, empty, damaged, not a NIfTI, more than one volume.
        GeometryError: the affine is not usable.
    """
    what = _name(path, study_id)
    return _grid(read_header(Path(path), what), what)


def read_image(path: Path, study_id: str | None = None) -> Volume:
    """One CT in HU.

    NaN and infinite voxels become ``AIR_HU``, and their number is logged as a warning.

    Args:
        path: .nii or .nii.gz.
        study_id: names the study in messages and in the log, which never shows the path.

    Returns:
        voxels int16 where the file's integers fit and are not scaled, else float32; the file's header is kept.

    Raises:
        StudyError: missing, empty, cut short, not a NIfTI, more than one volume, RGB, complex, no finite voxel.
        GeometryError: the affine is not usable.
    """
    volume, bad = read_image_counted(path, study_id)
    warn_of_air(bad, volume.voxels.size, study_id)
    return volume


def read_image_counted(path: Path, study_id: str | None = None) -> tuple[Volume, int]:
    """``read_image`` without the warning: the image, and how many NaN and infinite voxels became air."""
    what = _name(path, study_id)
    header, stored = read_stored(Path(path), what, image=True)
    grid = _grid(header, what)
    voxels, bad = in_hu(stored, *_scale(header, what))
    require_some_finite(bad, voxels.size, what)
    return Volume(voxels, grid, header), bad


def read_labels(path: Path, label_map: LabelMap, study_id: str | None = None) -> Volume:
    """One label map as class indices.

    Args:
        path: .nii or .nii.gz; integers of any width, or floats that are whole numbers.
        label_map: which value is which class.
        study_id: names the study in messages.

    Returns:
        voxels uint8: 0 background, 1 the label map's first class, ..., ``IGNORE_INDEX`` where it says ignore.

    Raises:
        StudyError: as ``read_image``.
        LabelError: fractions, or values that the label map does not name.
    """
    what = _name(path, study_id)
    header, values = _label_file(path, what)
    return Volume(apply_label_map(values, label_map, what), _grid(header, what), header)


def write_labels(
    path: Path,
    classes: NDArray[np.uint8],
    like: Volume | Grid,
    header: Any = None,
    *,
    names: Sequence[str] | None = None,
) -> None:
    """Write a segmentation on the grid of the image it belongs to, atomically.

    With a header, the file gets the image's own shape (trailing axes of one voxel included), affine, qform and sform
    with their codes, and units; dtype uint8, scale 1 and 0, display range cleared. Free text and header extensions,
    which may name the patient, are not copied. Without one it gets a new header: sform code 1, millimetres.

    Args:
        path: .nii or .nii.gz; missing folders are made.
        classes: (I, J, K) uint8.
        like: the image as it was read, or its grid.
        header: the image's header when ``like`` is a grid.
        names: foreground class names in class order; they go into the file as a header extension, a comment of JSON:
            ``{"labels": {"1": "liver"}}``. None, or no names: no extension.

    Raises:
        TypeError: not uint8.
        GeometryError: the array, ``like`` and the header do not agree.
        StudyError: the file cannot be written; an older file of that name stays as it was.
    """
    if classes.dtype != np.uint8:
        raise TypeError(f"{path}: expected uint8 class indices, found {classes.dtype}")
    labels = {str(value): name for value, name in enumerate(names or (), start=1)}
    _write(Path(path), classes, like, header, comment=json.dumps({"labels": labels}) if labels else "")


def write_fractions(path: Path, fractions: NDArray[np.uint8], like: Volume | Grid, header: Any = None) -> None:
    """Write fractions (probabilities, an uncertainty) as ``write_labels`` writes a segmentation.

    The file keeps bytes and a scale of 1/255, so that every reader that follows the standard sees 0 to 1.

    Args:
        path: .nii or .nii.gz; missing folders are made.
        fractions: (I, J, K) uint8, the fraction times 255.
        like: the image as it was read, or its grid.
        header: the image's header when ``like`` is a grid.

    Raises:
        TypeError: not uint8.
        GeometryError: the array, ``like`` and the header do not agree.
        StudyError: the file cannot be written; an older file of that name stays as it was.
    """
    if fractions.dtype != np.uint8:
        raise TypeError(f"{path}: expected uint8 fractions of 255, found {fractions.dtype}")
    _write(Path(path), fractions, like, header, slope=_FRACTION)


def read_fractions(path: Path) -> NDArray[np.uint8]:
    """What ``write_fractions`` wrote: (I, J, K) uint8, the fraction times 255.

    Raises:
        StudyError: as ``read_image``.
        TypeError: other voxels than bytes.
    """
    stored = read_stored(Path(path), str(path))[1]
    if stored.dtype != np.uint8:
        raise TypeError(f"{path}: expected uint8 fractions of 255, found {stored.dtype}")
    return np.asarray(stored)


def write_image(path: Path, voxels: NDArray[Any], like: Volume | Grid, header: Any = None) -> None:
    """Write an int16 or float32 image as ``write_labels`` writes a segmentation.

    Raises:
        TypeError: another dtype.
        GeometryError: the array, ``like`` and the header do not agree.
        StudyError: the file cannot be written; an older file of that name stays as it was.
    """
    if voxels.dtype not in (np.int16, np.float32):
        raise TypeError(f"{path}: expected int16 or float32 voxels, found {voxels.dtype}")
    _write(Path(path), voxels, like, header)


def _name(path: Path, study_id: str | None) -> str:
    return f"study {study_id} ({path})" if study_id else str(path)


def _grid(header: Any, what: str) -> Grid:
    shape = shape3(header, what)
    try:
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        raise GeometryError(f"{what}: the header's orientation is broken ({error}); repair its qform") from error
    check_affine(affine, what)
    return Grid(shape, affine)


def _scale(header: Any, what: str) -> tuple[float, float]:
    """Slope and intercept; 1 and 0 where the header says that there is no scaling (slope 0 or NaN)."""
    try:
        slope, inter = header.get_slope_inter()
    except HeaderDataError as error:
        raise StudyError(f"{what}: broken scale factors ({error}); repair scl_slope and scl_inter") from error
    return (1.0, 0.0) if slope is None else (slope, inter)


def _label_file(path: Path, what: str) -> tuple[Any, NDArray[Any]]:
    header, stored = read_stored(Path(path), what)
    slope, inter = _scale(header, what)
    return header, stored if (slope, inter) == (1.0, 0.0) else stored.astype(np.float64) * slope + inter


def _write(
    path: Path, voxels: NDArray[Any], like: Volume | Grid, header: Any, *, slope: float = 1.0, comment: str = ""
) -> None:
    grid, header = (
        (like.grid, like.header if header is None else header) if isinstance(like, Volume) else (like, header)
    )
    if voxels.shape != grid.shape:
        raise GeometryError(f"{path}: expected an array of the grid's shape {grid.shape}, found {voxels.shape}")
    if header is None:
        header = _new_header(grid)
    else:
        header = header.as_byteswapped("<")  # a copy, in the byte order that the voxels are written in
        require_same_grid(_grid(header, str(path)), grid, f"{path}: the header and the grid to write on")
    header.set_data_dtype(voxels.dtype.newbyteorder("<"))
    header.set_intent("none")
    header["scl_slope"], header["scl_inter"] = slope, 0
    header["cal_min"] = header["cal_max"] = 0
    header["magic"], header["vox_offset"] = header.single_magic, header.single_vox_offset
    for field, text in _FREE_TEXT.items():
        if field in header.keys():  # noqa: SIM118  # a header's `in` looks at values; NIfTI-2 lacks some fields
            header[field] = text
    write_stored(path, header, voxels.astype(voxels.dtype.newbyteorder("<"), copy=False), comment)


def _new_header(grid: Grid) -> Any:
    kind = Nifti1Header if max(grid.shape) <= _LARGEST_NIFTI1_AXIS else Nifti2Header
    header = kind(endianness="<")
    header.set_data_shape(grid.shape)
    header.set_qform(grid.affine, code=0)  # sets the spacing; the sform alone gives the affine, shears included
    header.set_sform(grid.affine, code=1)
    header.set_xyzt_units("mm")
    return header
