"""The bytes of one NIfTI file: a header and voxels as they are stored, in and out.

nibabel reads and writes the header; the voxels go through isal, which inflates three times faster than zlib, straight
into their array. One-file NIfTI-1 and NIfTI-2 (.nii, .nii.gz); whether a file is gzipped is seen from its first bytes.
Header extensions are skipped: nothing here needs them, and they may name the patient. A file may get one of our own, a
comment.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from isal import igzip, isal_zlib
from nibabel import Nifti2Header
from numpy.typing import NDArray

from medseg.errors import StudyError
from medseg.files import atomic_path
from medseg.study.nifti_header import parse_header
from medseg.types import Shape3

COMPRESSION_LEVEL = 3
"""isal's best; level 1 saves a tenth of the time and makes files a fifth larger."""

_COMMENT_CODE = 6
"""NIfTI's code of a header extension that is plain text; readers that know nothing of extensions follow vox_offset."""

MOST_VOXELS = 1 << 32
"""More than twice the largest CT there is (1024 x 1024 x 2000 or so)."""

_CHUNK = 1 << 26
_DENSEST = 1100
"""Deflate cannot shrink data further than about 1032 to 1; a header that promises more is broken."""

DENSEST_IMAGE = 100
"""A CT shrinks to a half or a fifth, a phantom without noise to a fiftieth; a label map may well be all zeros."""

_LONGEST_PADDING = 4096
"""Zeros behind the voxels that a writer of blocks may leave, where a slice is smaller than that."""

FREE_BYTES = 1 << 28
"""A file that holds no more than this is not asked how dense it is."""

_DAMAGE: Any = (EOFError, zlib.error, isal_zlib.error, igzip.BadGzipFile)  # isal types its error as an instance


def read_header(path: Path, what: str) -> Any:
    """A file's header as a nibabel NIfTI header, its scale factors kept.

    Args:
        path: .nii or .nii.gz.
        what: names the file in messages.

    Raises:
        StudyError: missing, empty, damaged, not a one-file NIfTI.
    """
    with _opened(path, what) as stream:
        return _header(stream, what)


def read_stored(path: Path, what: str, *, image: bool = False) -> tuple[Any, NDArray[Any]]:
    """A file's header, and its voxels as stored: not scaled, native byte order, (I, J, K) in Fortran order, writable.

    Args:
        path: .nii or .nii.gz.
        what: names the file in messages.
        image: intensities, so that a large file which shrank to a hundredth is a bomb; labels may shrink that far.

    Raises:
        StudyError: as ``read_header``; or cut short; or longer than its header says; or RGB or complex voxels; or more
            than one volume; or more than this machine's memory holds.
    """
    with _opened(path, what) as stream:
        header = _header(stream, what)
        shape, dtype = shape3(header, what), _dtype(header, what)
        promised = math.prod(shape) * dtype.itemsize
        packed = isinstance(stream, igzip.IGzipFile)
        _check_promise(path.stat().st_size, promised, math.prod(shape), what, packed=packed, image=image)
        voxels = np.empty(math.prod(shape), dtype)  # the system gives the memory only as it is filled
        stream.seek(int(header["vox_offset"]) or header.single_vox_offset)
        _fill(stream, voxels.view(np.uint8).data)
        _check_end(stream, promised // shape[2], what)
    if not voxels.dtype.isnative:
        voxels = voxels.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return header, voxels.reshape(shape, order="F")


def shape3(header: Any, what: str) -> Shape3:
    """The header's shape as I, J, K: trailing axes of one voxel are dropped, a single slice gets K = 1.

    Raises:
        StudyError: no voxels, or more than one volume.
    """
    shape = tuple(int(size) for size in header.get_data_shape())
    if not shape or min(shape) < 1:
        raise StudyError(f"{what}: expected an image, found shape {shape} without voxels")
    if max(shape[3:], default=1) > 1:
        raise StudyError(
            f"{what}: expected one 3D volume, found shape {shape}; write the volume you mean to a file of its own"
        )
    i, j, k = (*shape, 1, 1)[:3]
    return i, j, k


def write_stored(path: Path, header: Any, voxels: NDArray[Any], comment: str = "") -> None:
    """Write voxels under a header, atomically; gzipped when the name ends in .gz.

    Equal input gives equal bytes (no time, no name in the gzip header).

    Args:
        path: ends in .nii or .nii.gz; missing folders are made, an existing file is replaced.
        header: a nibabel NIfTI header, little-endian, whose shape and dtype are the voxels'.
        voxels: (I, J, K).
        comment: ASCII text for one header extension between header and voxels (nibabel: ``header.extensions``),
            filled up with spaces; "" for none.

    Raises:
        StudyError: another suffix, or the file cannot be written (disk full, no permission); nothing is left behind.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise StudyError(f"{path}: expected a name that ends in .nii or .nii.gz")
    head = _head(header, comment)
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as raw:
            if path.name.lower().endswith(".gz"):
                packed = igzip.IGzipFile(filename="", mode="wb", compresslevel=COMPRESSION_LEVEL, fileobj=raw, mtime=0)
                with packed:
                    _write(packed, head, voxels)
            else:
                _write(raw, head, voxels)
    except OSError as error:
        raise StudyError(f"{path}: could not be written ({error.strerror or error}); nothing was changed") from error


@contextmanager
def _opened(path: Path, what: str) -> Iterator[Any]:
    """The file's bytes, inflated if need be; whatever goes wrong while they are read becomes one clear StudyError."""
    try:
        if not path.is_file():
            raise StudyError(f"{what}: {_instead_of_a_file(path)}")
        if path.stat().st_size == 0:
            raise StudyError(f"{what}: the file is empty (0 bytes); copy it again")
        with path.open("rb") as raw:
            yield igzip.IGzipFile(fileobj=raw, mode="rb") if raw.peek(2)[:2] == b"\x1f\x8b" else raw
    except _DAMAGE as error:
        raise StudyError(f"{what}: the file is damaged or cut short ({error}); copy it again") from error
    except MemoryError as error:
        raise StudyError(f"{what}: its voxels do not fit into the memory of this machine ({error})") from error
    except OSError as error:
        raise StudyError(f"{what}: could not be read ({error.strerror or error})") from error


def _instead_of_a_file(path: Path) -> str:
    if path.is_dir():
        return "expected a file, found a folder"
    if path.exists():
        return "expected a file, found a pipe or a device"
    return "expected a file, found a link that leads nowhere" if path.is_symlink() else "no such file"


def _header(stream: IO[bytes], what: str) -> Any:
    return parse_header(stream.read(Nifti2Header.sizeof_hdr), what)


def _dtype(header: Any, what: str) -> np.dtype[Any]:
    dtype: np.dtype[Any] = header.get_data_dtype()
    if dtype.fields is not None or dtype.kind not in "iuf":
        kind = "complex" if dtype.kind == "c" else "colour (RGB)" if dtype.fields is not None else str(dtype)
        raise StudyError(
            f"{what}: expected one number a voxel, found {kind} voxels; export the intensities in HU instead"
        )
    return dtype


def _check_promise(held: int, promised: int, voxels: int, what: str, *, packed: bool, image: bool) -> None:
    """Refuse a header that claims more than its file can hold, before memory is asked for."""
    if promised > held * (_DENSEST if packed else 1):
        raise EOFError(f"its header promises {promised} bytes of voxels")
    if voxels > MOST_VOXELS:
        raise StudyError(f"{what}: expected at most {MOST_VOXELS} voxels, found {voxels} in the header; repair it")
    if image and packed and promised > max(FREE_BYTES, held * DENSEST_IMAGE):
        raise StudyError(
            f"{what}: expected a CT, found {held} bytes that inflate to {promised}: nothing but zeros; copy it again"
        )


def _fill(stream: IO[bytes], room: memoryview) -> None:
    done = 0
    while done < len(room):
        read = stream.readinto(room[done : done + _CHUNK])  # type: ignore[attr-defined]  # IO lacks it, binary streams have it
        if not read:
            raise EOFError(f"found {done} of {len(room)} bytes of voxels")
        done += read


def _check_end(stream: IO[bytes], slice_bytes: int, what: str) -> None:
    """Refuse a file that goes on with more voxels than its header says.

    A few zeros behind the voxels are padding. Anything else means that the header or the voxels are not this file's.
    Reading to the end also compares a gzip's checksum, which comes last; not reading on ends a stream without an end.
    """
    most = max(slice_bytes, _LONGEST_PADDING)
    rest = stream.read(most)
    if len(rest) == most or any(rest):
        raise StudyError(
            f"{what}: the file goes on behind the last voxel that its header names ({len(rest)} bytes or more); "
            "its dimensions or its datatype are wrong, or two files were joined"
        )


def _head(header: Any, comment: str) -> bytes:
    """All bytes before the voxels: the header, and a comment extension if there is one."""
    if not comment:
        return bytes(header.binaryblock.ljust(int(header["vox_offset"]), b"\0"))
    text = comment.encode("ascii")
    size = -(-(len(text) + 8) // 16) * 16  # with its two numbers, and a multiple of 16: the standard's rule
    extension = struct.pack("<ii", size, _COMMENT_CODE) + text.ljust(size - 8)
    header = header.copy()
    header["vox_offset"] = header.single_vox_offset + size
    return bytes(header.binaryblock) + b"\1\0\0\0" + extension


def _write(stream: Any, head: bytes, voxels: NDArray[Any]) -> None:
    stream.write(head)
    for k in range(voxels.shape[2]):  # a slice at a time, so that no second copy of the volume is made
        stream.write(voxels[:, :, k].tobytes(order="F"))
