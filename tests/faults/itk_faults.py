"""Bad NRRD and MetaImage files, each made from one small good CT."""

from __future__ import annotations

import gzip
import zlib
from functools import cache
from pathlib import Path

import numpy as np
from fault import EITHER, HARMLESS, Fault, faults_of
from nifti_faults import voxels

Rng = np.random.Generator

# both headers give the grid of the good NIfTI, AFFINE and SHAPE; MetaImage's own numbers are LPS+
_NRRD = """NRRD0004
type: short
dimension: 3
space: right-anterior-superior
sizes: 24 20 16
space directions: (-6,0,0) (0,6,0) (0,0,5)
kinds: domain domain domain
endian: little
encoding: raw
space origin: (70,-60,-40)

"""
_MHA = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 -1 0 0 0 1
Offset = -70 60 -40
ElementSpacing = 6 6 5
DimSize = 24 20 16
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""


@cache
def _voxels() -> bytes:
    return voxels().tobytes(order="F")


def nrrd(packed: bool = False, voxels: bytes | None = None, **changes: str) -> bytes:
    """A .nrrd as bytes; ``changes`` are fields, whose spaces are underscores."""
    body = _voxels() if voxels is None else voxels
    if packed:
        body = gzip.compress(body, mtime=0)
        changes = {"encoding": "gzip", **changes}
    return _header(_NRRD, ": ", changes) + body


def mha(packed: bool = False, voxels: bytes | None = None, **changes: str) -> bytes:
    """A .mha as bytes; ``changes`` are fields."""
    body = _voxels() if voxels is None else voxels
    if packed:
        body = zlib.compress(body)
        changes = {"CompressedData": f"True\nCompressedDataSize = {len(body)}", **changes}
    return _header(_MHA, " = ", changes) + body


def _header(text: str, mark: str, changes: dict[str, str]) -> bytes:
    lines = text.splitlines()
    for name, value in changes.items():
        key = name.replace("_", " ")
        found = [n for n, line in enumerate(lines) if line.startswith(key + mark)]
        lines[found[0]] = f"{key}{mark}{value}"
    return ("\n".join(lines) + "\n").encode()


def _put(place: Path, content: bytes, suffix: str) -> Path:
    path = place.with_name(place.name + suffix)
    path.write_bytes(content)
    return path


def _any(rng: Rng) -> tuple[bytes, str, int]:
    """One of the four good files, its suffix, and where its voxels begin."""
    packed = bool(rng.integers(2))
    make, suffix = ((nrrd, ".nrrd"), (mha, ".mha"))[int(rng.integers(2))]
    content = make(packed)
    body = len(_voxels()) if not packed else len((gzip.compress if make is nrrd else zlib.compress)(_voxels()))
    return content, suffix, len(content) - body


def _flipped(content: bytes, first: int, last: int, rng: Rng) -> bytes:
    position = int(rng.integers(first, last))
    return content[:position] + bytes([content[position] ^ int(rng.integers(1, 256))]) + content[position + 1 :]


def cut_data(place: Path, rng: Rng) -> Path:
    content, suffix, start = _any(rng)
    return _put(place, content[: int(rng.integers(start, len(content)))], suffix)


def cut_text(place: Path, rng: Rng) -> Path:
    content, suffix, start = _any(rng)
    return _put(place, content[: int(rng.integers(1, start - 20))], suffix)


def flipped_stream(place: Path, rng: Rng) -> Path:
    make, suffix, wrapping = ((nrrd, ".nrrd", 18), (mha, ".mha", 6))[int(rng.integers(2))]
    content = make(True)
    size = len((gzip.compress if make is nrrd else zlib.compress)(_voxels()))
    return _put(place, _flipped(content, len(content) - size + wrapping - 4, len(content) - 8, rng), suffix)


def flipped_text(place: Path, rng: Rng) -> Path:
    content, suffix, start = _any(rng)
    return _put(place, _flipped(content, 0, start, rng), suffix)


def sizes_too_large(place: Path, rng: Rng) -> Path:
    return _sized(place, rng, f"24 20 {int(rng.integers(17, 40))}")


def sizes_too_small(place: Path, rng: Rng) -> Path:
    return _sized(place, rng, f"24 20 {int(rng.integers(2, 15))}")


def sizes_huge(place: Path, rng: Rng) -> Path:
    return _sized(place, rng, "30000 30000 30000")


def sizes_zero(place: Path, rng: Rng) -> Path:
    return _sized(place, rng, str(rng.choice(["24 20 0", "0 0 0", "-24 20 16"])))


def _sized(place: Path, rng: Rng, sizes: str) -> Path:
    packed = bool(rng.integers(2))
    if rng.random() < 0.5:
        return _put(place, nrrd(packed, sizes=sizes), ".nrrd")
    return _put(place, mha(packed, DimSize=sizes), ".mha")


def spacing_of_nothing(place: Path, rng: Rng) -> Path:
    value = str(rng.choice(["0", "nan", "inf", "1e30", "1e-30", "1e6"]))
    if rng.random() < 0.5:
        return _put(place, nrrd(space_directions=f"({value},0,0) (0,6,0) (0,0,5)"), ".nrrd")
    return _put(place, mha(ElementSpacing=f"{value} 6 5"), ".mha")


def flat_directions(place: Path, rng: Rng) -> Path:
    if rng.random() < 0.5:
        return _put(place, nrrd(space_directions="(6,0,0) (6,0,0) (0,0,5)"), ".nrrd")
    return _put(place, mha(TransformMatrix="1 0 0 1 0 0 0 0 1"), ".mha")


def voxels_of_another_folder(place: Path, rng: Rng) -> Path:
    (place.parent / "secret.raw").write_bytes(_voxels())
    name = str(rng.choice(["../secret.raw", str(place.parent / "secret.raw")]))
    place.mkdir()
    if rng.random() < 0.5:
        return _put(place / "ct", _header(_NRRD.rstrip() + f"\ndata file: {name}\n", ": ", {}), ".nhdr")
    return _put(place / "ct", _header(_MHA, " = ", {"ElementDataFile": name}), ".mhd")


def voxels_of_many_files(place: Path, rng: Rng) -> Path:
    """A pattern or a list of names, which may lead anywhere."""
    name = str(rng.choice(["../%03d.raw 1 16 1", "LIST\n../secret.raw", "LIST"]))
    if rng.random() < 0.5:
        return _put(place, _header(_NRRD.rstrip() + f"\ndata file: {name}\n", ": ", {}), ".nhdr")
    return _put(place, _header(_MHA, " = ", {"ElementDataFile": name}), ".mhd")


def voxels_missing(place: Path, rng: Rng) -> Path:
    return _put(place, _header(_MHA, " = ", {"ElementDataFile": "gone.raw"}), ".mhd")


def vector_pixels(place: Path, rng: Rng) -> Path:
    if rng.random() < 0.5:
        content = _MHA.replace("ElementType", "ElementNumberOfChannels = 3\nElementType").encode()
        return _put(place, content + _voxels() * 3, ".mha")
    changes = {"dimension": "4", "sizes": "3 24 20 16", "kinds": "vector domain domain domain"}
    changes["space_directions"] = "none (-6,0,0) (0,6,0) (0,0,5)"
    return _put(place, nrrd(voxels=_voxels() * 3, **changes), ".nrrd")


def nothing_in_it(place: Path, rng: Rng) -> Path:
    return _put(place, b"", str(rng.choice([".nrrd", ".nhdr", ".mha", ".mhd"])))


def named_nrrd(place: Path, rng: Rng) -> Path:
    return _put(place, (mha(), b"\x1f\x8b" + rng.bytes(500), b"NRRD0004\n")[int(rng.integers(3))], ".nrrd")


def stream_without_end(place: Path, rng: Rng) -> Path:
    """4 GiB of zeros where 15360 bytes are promised."""
    if rng.random() < 0.5:
        zeros = gzip.compress(bytes(1 << 25), mtime=0)
        return _put(place, nrrd(voxels=gzip.compress(_voxels()) + zeros * 128, encoding="gzip"), ".nrrd")
    packer = zlib.compressobj(9)
    body = packer.compress(_voxels() + bytes(1 << 25)) + packer.flush(zlib.Z_FULL_FLUSH)
    body += (packer.compress(bytes(1 << 25)) + packer.flush(zlib.Z_FULL_FLUSH)) * 128
    compressed = f"True\nCompressedDataSize = {len(body)}"
    return _put(place, mha(voxels=body, CompressedData=compressed), ".mha")


def claims_what_it_inflates_to(place: Path, rng: Rng) -> Path:
    """2 GiB of zeros, in 2 MB."""
    zeros = gzip.compress(bytes(1 << 25), 9, mtime=0)
    return _put(place, nrrd(voxels=zeros * 64, encoding="gzip", sizes="1024 1024 1024"), ".nrrd")


def packed_whole(place: Path, rng: Rng) -> Path:
    return _put(place, nrrd(True), ".nrrd") if rng.random() < 0.5 else _put(place, mha(True), ".mha")


ITK_FAULTS: list[Fault] = [
    *faults_of(cut_data, 6),
    *faults_of(cut_text, 4),
    *faults_of(flipped_stream, 6),
    *faults_of(flipped_text, 10, EITHER),
    *faults_of(sizes_too_large, 4),
    *faults_of(sizes_too_small, 4),
    *faults_of(sizes_huge, 3),
    *faults_of(sizes_zero, 3),
    *faults_of(spacing_of_nothing, 6),
    *faults_of(flat_directions, 2),
    *faults_of(voxels_of_another_folder, 3),
    *faults_of(voxels_of_many_files, 4),
    *faults_of(voxels_missing, 1),
    *faults_of(vector_pixels, 2),
    *faults_of(nothing_in_it, 2),
    *faults_of(named_nrrd, 3),
    *faults_of(stream_without_end, 2),
    *faults_of(claims_what_it_inflates_to, 1),
    *faults_of(packed_whole, 2, HARMLESS),
]
