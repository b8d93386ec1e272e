"""One slice of a DICOM series in HU, decoded by GDCM through SimpleITK."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import StudyError
from medseg.study.dicom.header import Header
from medseg.study.hounsfield import AIR_HU
from medseg.study.itk_image import itk_reason

SYNTAXES = {
    "1.2.840.10008.1.2": "implicit little endian",
    "1.2.840.10008.1.2.1": "explicit little endian",
    "1.2.840.10008.1.2.1.99": "deflated",
    "1.2.840.10008.1.2.2": "explicit big endian",
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.51": "JPEG extended",
    "1.2.840.10008.1.2.4.53": "JPEG spectral selection",
    "1.2.840.10008.1.2.4.55": "JPEG full progression",
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless SV1",
    "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS near lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "HTJ2K lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K lossless RPCL",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
    "1.2.840.10008.1.2.5": "RLE",
}
"""Transfer syntaxes by name, for messages."""

_UNCOMPRESSED = {"", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}
_MOST_PIXELS = 1 << 24
"""Of one slice; CT has up to 2048 x 2048. A broken header may claim gigabytes."""


def read_slice(header: Header, what: str) -> NDArray[Any]:
    """Decode one slice and rescale it by its own slope and intercept.

    Pixels outside the scanner's field of view, marked by the padding value or stored far below air (-1500, -3024 ...),
    become ``AIR_HU``, so that no resampling smears them into the body.

    Args:
        header: of a file with one frame.
        what: names the study in messages.

    Returns:
        (columns, rows), which is (I, J): int16 where the values are whole and fit, else float32; at least ``AIR_HU``.

    Raises:
        StudyError: colour, several frames, cut short, or an encoding that cannot be decoded.
    """
    import SimpleITK as sitk

    require_grey_slice(header, what)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(header.path))
    try:
        pixels = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise StudyError(
            f"{what}: {header.path.name} cannot be decoded ({syntax_name(header)}): {itk_reason(error)}; "
            "copy it again, or convert the series to an uncompressed transfer syntax"
        ) from error
    if pixels.size != header.rows * header.columns:
        raise StudyError(
            f"{what}: {header.path.name}: expected {header.rows} x {header.columns} pixels, decoded {pixels.shape}"
        )
    plane: NDArray[Any] = pixels.reshape(header.rows, header.columns).T
    padding = _padding_hu(header)
    if padding is not None and padding[1] > AIR_HU:
        _fill_padding(plane, *padding)
    return _compact(np.maximum(plane, AIR_HU))


def syntax_name(header: Header) -> str:
    """The transfer syntax in words and as its UID."""
    return f"{SYNTAXES.get(header.syntax, 'unknown transfer syntax')}, {header.syntax or 'not named'}"


def require_grey_slice(header: Header, what: str) -> None:
    """Refuse colour, several frames, and more pixels than the file can hold, before room is made for them.

    Raises:
        StudyError: names the file and says what it holds.
    """
    name = f"{what}: {header.path.name}"
    if not (header.rows and header.columns):
        raise StudyError(f"{name}: a DICOM object without pixels ({header.modality or 'no modality'})")
    if header.samples != 1 or header.photometric == "PALETTE COLOR":
        raise StudyError(f"{name}: expected one number a pixel, found colour ({header.photometric})")
    if header.frames > 1:
        raise StudyError(
            f"{name}: {header.frames} frames in one file; expected a file for each slice, whose position can be "
            "checked; convert it to single-frame DICOM or NIfTI"
        )
    pixels, size = header.rows * header.columns, header.path.stat().st_size
    if pixels > _MOST_PIXELS or (header.syntax in _UNCOMPRESSED and size < pixels * header.bits // 8):
        raise StudyError(
            f"{name}: {header.rows} x {header.columns} pixels promised, the file has {size} bytes; copy it again"
        )


def _padding_hu(header: Header) -> tuple[float, float] | None:
    if header.padding is None:
        return None
    slope = 1.0 if header.slope is None else header.slope
    ends = [value * slope + (header.intercept or 0.0) for value in header.padding]
    return min(ends), max(ends)


def _fill_padding(plane: NDArray[Any], low: float, high: float) -> None:
    """Padding becomes air, in place; unless no corner holds it: then it is a header's leftover, and it may be water."""
    padded = (plane >= low - 1e-3) & (plane <= high + 1e-3)
    if padded[:: max(padded.shape[0] - 1, 1), :: max(padded.shape[1] - 1, 1)].any():
        plane[padded] = AIR_HU


def _compact(plane: NDArray[Any]) -> NDArray[Any]:
    if plane.dtype.kind != "f" and plane.max() <= np.iinfo(np.int16).max:
        return plane.astype(np.int16)
    return plane.astype(np.float32)
