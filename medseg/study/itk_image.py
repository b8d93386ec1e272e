"""NRRD and MetaImage files as a volume in HU, read by SimpleITK.

ITK gives positions in LPS+; here they become RAS+. The rules for numbers are those of ``hounsfield``, as for NIfTI.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from medseg.errors import StudyError
from medseg.study.geometry import check_affine
from medseg.study.hounsfield import in_hu, require_some_finite, warn_of_air
from medseg.study.nifti_bytes import DENSEST_IMAGE, FREE_BYTES
from medseg.types import Affine, Grid, Volume

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
"""What is read here; .nhdr and .mhd name their voxels' file, which is no image of its own."""

_READERS = {".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}
_LONGEST_HEADER = 1 << 16
_DENSEST = 1100
"""Deflate cannot shrink data further than about 1032 to 1; a header that promises more is broken."""

_BLOCK = 1 << 24
_DAMAGE: Any = (EOFError, zlib.error, isal_zlib.error, igzip.BadGzipFile)  # isal types its error as an instance
_DAMAGED = "the file is damaged or cut short"


def read_itk_image(path: Path, study_id: str = "") -> Volume:
    """One CT in HU from a .nrrd, .nhdr, .mha or .mhd file.

    NaN and infinite voxels become air, and their number is logged as a warning.

    Args:
        path: the file, or the header beside the voxels' file.
        study_id: names the study in messages and in the log.

    Returns:
        voxels (I, J, K) in the file's order: int16 where the file's integers fit, else float32; no header.

    Raises:
        StudyError: missing, empty, cut short, damaged, colour or vectors, complex, not one 3D volume, or a voxels' file
            outside the header's folder.
        GeometryError: the grid is not usable.
    """
    what = f"study {study_id} ({path})" if study_id else str(path)
    stored, affine = _read(path, what)
    check_affine(affine, what)
    voxels, bad = in_hu(stored)
    require_some_finite(bad, voxels.size, what)
    warn_of_air(bad, voxels.size, study_id or None)
    i, j, k = voxels.shape
    return Volume(voxels, Grid((i, j, k), affine))


def data_file(path: Path) -> Path | None:
    """The file that holds the voxels of a .nhdr or .mhd header; None where they stand in the header's own file.

    Raises:
        OSError: the header cannot be read.
    """
    name = _fields(path)[0].get("elementdatafile" if path.suffix.lower() in (".mha", ".mhd") else "data file", "LOCAL")
    return None if name.upper() == "LOCAL" else path.parent / name


def itk_reason(error: RuntimeError) -> str:
    """What ITK says in the end, without the source file, line and object's address in front."""
    return str(error).strip().splitlines()[-1].split("): ")[-1]


def _read(path: Path, what: str) -> tuple[NDArray[Any], Affine]:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO(_READERS[path.suffix.lower()])
    reader.SetFileName(str(path))
    try:
        voxels_file = _voxels_file(path, what)
        reader.ReadImageInformation()
        promised = _require_one_volume(reader, sitk, voxels_file, what)
        _check_stream(path, voxels_file, promised, promised // reader.GetSize()[2], what)
        image = reader.Execute()
        array = sitk.GetArrayFromImage(image)
    except MemoryError as error:
        raise StudyError(f"{what}: its voxels do not fit into the memory of this machine ({error})") from error
    except RuntimeError as error:
        raise StudyError(f"{what}: {_DAMAGED} ({itk_reason(error)}); copy it again") from error
    except OSError as error:
        raise StudyError(f"{what}: could not be read ({error.strerror or error})") from error
    return array.reshape(array.shape[-3:]).T, _affine(image)


def _voxels_file(path: Path, what: str) -> Path:
    """The file to read voxels from, which may not lie outside the header's folder."""
    if not path.is_file():
        raise StudyError(f"{what}: expected a file, found a folder" if path.exists() else f"{what}: no such file")
    if path.stat().st_size == 0:
        raise StudyError(f"{what}: the file is empty (0 bytes); copy it again")
    data = data_file(path) or path
    if not data.resolve().is_relative_to(path.parent.resolve()):
        raise StudyError(f"{what}: its voxels lie outside its folder; put both files into one folder")
    if not data.is_file():
        raise StudyError(f"{what}: its voxels' file {data.name!r} is missing; copy it beside the header")
    return data


def _require_one_volume(reader: Any, sitk: Any, voxels_file: Path, what: str) -> int:
    """Refuse all but one 3D volume of one real number a voxel, before room is made for it; returns its bytes."""
    pixel = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if reader.GetNumberOfComponents() != 1 or "vector" in pixel or "complex" in pixel:
        raise StudyError(
            f"{what}: expected one number a voxel, found {reader.GetNumberOfComponents()} ({pixel}); export the "
            "intensities in HU instead"
        )
    shape = reader.GetSize()
    if len(shape) < 3 or max(shape[3:], default=1) > 1:
        raise StudyError(
            f"{what}: expected one 3D volume, found shape {shape}; write the volume you mean to a file of its own"
        )
    if min(shape) < 1:
        raise StudyError(f"{what}: expected an image, found shape {shape} without voxels")
    size = int(pixel.split("-bit")[0]) // 8 if pixel[0].isdigit() else 1
    promised, held = size * int(np.prod(shape, dtype=np.float64)), voxels_file.stat().st_size
    if promised > held * _DENSEST:
        raise StudyError(f"{what}: {_DAMAGED}: its header promises {promised} bytes of voxels, the file has {held}")
    if promised > max(FREE_BYTES, held * DENSEST_IMAGE):
        raise StudyError(
            f"{what}: expected a CT, found {held} bytes that inflate to {promised}: nothing but zeros; copy it again"
        )
    return promised


def _check_stream(path: Path, voxels_file: Path, promised: int, slice_bytes: int, what: str) -> None:
    """Measure the voxels, inflated if need be, and no further than they should go.

    ITK returns whatever came out of a damaged MetaImage stream, reads a stream without an end to its end, and leaves
    out what the header does not promise; it says nothing.
    """
    fields, end = _fields(path)
    packing = _packing(path, fields)
    if packing == "other" or {"byte skip", "line skip", "headersize"} & fields.keys():
        return
    with voxels_file.open("rb") as file:
        file.seek(end if voxels_file == path else 0)
        try:
            size = sum(_blocks(file, packing, promised + slice_bytes))
        except _DAMAGE as error:
            raise StudyError(f"{what}: {_DAMAGED} ({error}); copy it again") from error
    if size < promised:
        raise StudyError(f"{what}: {_DAMAGED} (found {size} of {promised} bytes of voxels); copy it again")
    if size >= promised + slice_bytes:
        raise StudyError(
            f"{what}: the file goes on behind the last voxel that its header names; its dimensions or its type are "
            "wrong, or two files were joined"
        )


def _packing(path: Path, fields: dict[str, str]) -> str:
    if path.suffix.lower() in (".mha", ".mhd"):
        return "zlib" if fields.get("compresseddata", "").lower() in ("true", "1") else "raw"
    return {"raw": "raw", "gzip": "gzip", "gz": "gzip"}.get(fields.get("encoding", "").lower(), "other")


def _blocks(file: IO[bytes], packing: str, most: int) -> Iterator[int]:
    """Sizes of the blocks that the rest of a file holds, up to ``most`` bytes or a little more."""
    if packing == "raw":
        yield os.fstat(file.fileno()).st_size - file.tell()
    elif packing == "gzip":
        stream, done = igzip.IGzipFile(fileobj=file, mode="rb"), 0
        while done < most and (block := stream.read(_BLOCK)):
            done += len(block)
            yield len(block)
    else:
        inflater, done = isal_zlib.decompressobj(), 0
        while done < most and not inflater.eof:
            if not (packed := inflater.unconsumed_tail or file.read(1 << 20)):
                raise EOFError("its stream has no end")
            done += (size := len(inflater.decompress(packed, _BLOCK)))
            yield size


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The text header's keys (in lower case) and values, and where it ends."""
    with path.open("rb") as file:
        block = file.read(_LONGEST_HEADER)
    fields: dict[str, str] = {}
    end = 0
    for line in block.splitlines(keepends=True):
        end += len(line)
        text = line.decode("latin-1").strip()
        key, mark, value = text.partition("=" if path.suffix.lower() in (".mha", ".mhd") else ":")
        if mark:
            fields[key.strip().lower()] = value.strip()
        if not text or "elementdatafile" in fields:
            break
    return fields, end


def _affine(image: Any) -> Affine:
    dimensions = image.GetDimension()
    direction = np.array(image.GetDirection()).reshape(dimensions, dimensions)[:3, :3]
    lps = np.eye(4)
    lps[:3, :3] = direction * np.array(image.GetSpacing())[:3]
    lps[:3, 3] = image.GetOrigin()[:3]
    affine: Affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    return affine
