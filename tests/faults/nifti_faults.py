"""Bad NIfTI files, each made from one small good CT."""

from __future__ import annotations

import gzip
import math
import os
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
from fault import EITHER, HARMLESS, Fault, faults_of

SHAPE = (24, 20, 16)
AFFINE = np.array([[-6.0, 0, 0, 70], [0, 6.0, 0, -60], [0, 0, 5.0, -40], [0, 0, 0, 1]])

Rng = np.random.Generator

_DIM, _DATATYPE, _PIXDIM, _VOX_OFFSET, _SLOPE, _QFORM, _SROW = 40, 70, 76, 108, 112, 252, 280
"""Byte positions in a NIfTI-1 header."""


def voxels(seed: int = 0) -> np.ndarray:
    """A CT in HU: a body of about 40 HU with noise in air."""
    rng = np.random.default_rng(seed)
    image = np.full(SHAPE, -1000.0)
    image[3:-3, 3:-3, 2:-2] = 40 + 100 * rng.random((4, 3, 3)).repeat(5, 0)[:18].repeat(5, 1)[:, :14].repeat(4, 2)
    return (image + rng.normal(0, 12, SHAPE)).astype(np.int16)


@cache
def good(seed: int = 0) -> bytes:
    """A whole .nii as bytes."""
    return nibabel.Nifti1Image(voxels(seed), AFFINE).to_bytes()


def packed(content: bytes) -> bytes:
    """Gzipped, equal bytes for equal input."""
    return gzip.compress(content, 3, mtime=0)


def _put(place: Path, content: bytes, suffix: str = ".nii") -> Path:
    path = place.with_name(place.name + suffix)
    path.write_bytes(content)
    return path


def _put_image(place: Path, array: np.ndarray, kind: type = nibabel.Nifti1Image) -> Path:
    return _put(place, kind(array, AFFINE, dtype=array.dtype).to_bytes())


def _patched(offset: int, values: object, dtype: str) -> bytes:
    content = bytearray(good())
    patch = np.atleast_1d(np.asarray(values)).astype(dtype).tobytes()
    content[offset : offset + len(patch)] = patch
    return bytes(content)


def _flipped(content: bytes, position: int, rng: Rng) -> bytes:
    return content[:position] + bytes([content[position] ^ int(rng.integers(1, 256))]) + content[position + 1 :]


def _choice(rng: Rng, *choices: object) -> object:
    return choices[int(rng.integers(len(choices)))]


def cut_gzip(place: Path, rng: Rng) -> Path:
    whole = packed(good())
    return _put(place, whole[: int(rng.integers(1, len(whole)))], ".nii.gz")


def cut_plain(place: Path, rng: Rng) -> Path:
    return _put(place, good()[: int(rng.integers(352, len(good())))])


def cut_header(place: Path, rng: Rng) -> Path:
    return _put(place, good()[: int(rng.integers(1, 352))])


def flipped_gzip_stream(place: Path, rng: Rng) -> Path:
    whole = packed(good())
    return _put(place, _flipped(whole, int(rng.integers(10, len(whole) - 4)), rng), ".nii.gz")


def flipped_gzip_header(place: Path, rng: Rng) -> Path:
    return _put(place, _flipped(packed(good()), int(rng.integers(0, 10)), rng), ".nii.gz")


def flipped_header(place: Path, rng: Rng) -> Path:
    return _put(place, _flipped(good(), int(rng.integers(0, 352)), rng))


def flipped_geometry(place: Path, rng: Rng) -> Path:
    """Only where the header keeps its dimensions, type, spacing, scale, codes and affine."""
    fields = [*range(40, 56), *range(70, 74), *range(76, 120), *range(252, 328)]
    return _put(place, packed(_flipped(good(), int(rng.choice(fields)), rng)), ".nii.gz")


def flipped_nifti2_header(place: Path, rng: Rng) -> Path:
    whole = nibabel.Nifti2Image(voxels(), AFFINE).to_bytes()
    return _put(place, _flipped(whole, int(rng.integers(0, 540)), rng))


def flipped_voxels(place: Path, rng: Rng) -> Path:
    return _put(place, _flipped(good(), int(rng.integers(352, len(good()))), rng))


def noise_header(place: Path, rng: Rng) -> Path:
    return _put(place, rng.bytes(352) + good()[352:])


def noise_behind_the_magic(place: Path, rng: Rng) -> Path:
    content = bytearray(rng.bytes(352)) + good()[352:]
    content[:4], content[344:348] = good()[:4], good()[344:348]
    return _put(place, bytes(content))


def dims_too_large(place: Path, rng: Rng) -> Path:
    shape = np.array(SHAPE)
    shape[int(rng.integers(3))] += int(rng.integers(1, 9))
    return _put(place, _patched(_DIM + 2, shape, "<i2"))


def dims_too_small(place: Path, rng: Rng) -> Path:
    shape = np.array(SHAPE)
    shape[int(rng.integers(3))] -= int(rng.integers(1, 9))
    content = _patched(_DIM + 2, shape, "<i2")
    return _put(place, packed(content), ".nii.gz") if rng.random() < 0.5 else _put(place, content)


def dims_zero_or_negative(place: Path, rng: Rng) -> Path:
    shape = np.array(SHAPE)
    shape[int(rng.integers(3))] = _choice(rng, 0, -1, -24, -32768)
    return _put(place, _patched(_DIM + 2, shape, "<i2"))


def dims_unknown_count(place: Path, rng: Rng) -> Path:
    return _put(place, _patched(_DIM, _choice(rng, 0, -1, 8, 255, 32767), "<i2"))


def dims_huge(place: Path, rng: Rng) -> Path:
    content = _patched(_DIM + 2, rng.integers(20000, 32767, 3), "<i2")
    return _put(place, packed(content), ".nii.gz") if rng.random() < 0.5 else _put(place, content)


def dims_large_in_a_dense_gzip(place: Path, rng: Rng) -> Path:
    """As many bytes as a gzip of this size could hold, and not there."""
    content = _patched(_DIM + 2, [1000, 1000, 400], "<i2") + rng.bytes(9_000_000)
    return _put(place, packed(content), ".nii.gz")


def nan_affine(place: Path, rng: Rng) -> Path:
    srow = AFFINE[:3].ravel().copy()
    srow[int(rng.integers(12))] = _choice(rng, np.nan, np.inf, -np.inf)
    return _put(place, _patched(_SROW, srow, "<f4"))


def singular_affine(place: Path, rng: Rng) -> Path:
    affine, column = AFFINE[:3].copy(), int(rng.integers(3))
    affine[:, column] = _choice(rng, 0.0, affine[:, (column + 1) % 3])
    return _put(place, _patched(_SROW, affine.ravel(), "<f4"))


def absurd_affine(place: Path, rng: Rng) -> Path:
    scale = _choice(rng, 1e-30, 1e-20, 1e-8, 1e-6, 1e5, 1e6, 1e20, 1e30)
    return _put(place, _patched(_SROW, (AFFINE[:3] * scale).ravel(), "<f4"))


def spacing_of_no_body(place: Path, rng: Rng) -> Path:
    """What a voxel may measure, and a study may not: 4 m and more, or less than a millimetre."""
    scale = _choice(rng, 1 / 1000, 1 / 300, 30, 100, 1000)
    return _put(place, _patched(_SROW, (AFFINE[:3] * scale).ravel(), "<f4"))


def absurd_origin(place: Path, rng: Rng) -> Path:
    affine = AFFINE[:3].copy()
    affine[int(rng.integers(3)), 3] = _choice(rng, 1e30, -1e20, 1e9)
    return _put(place, _patched(_SROW, affine.ravel(), "<f4"))


def absurd_spacing_alone(place: Path, rng: Rng) -> Path:
    """No qform, no sform: the spacing alone says where voxels lie."""
    content = bytearray(_patched(_QFORM, [0, 0], "<i2"))
    spacing = np.array([6.0, 6.0, 5.0], "<f4")
    spacing[int(rng.integers(3))] = _choice(rng, 0, np.nan, np.inf, 1e-30, 1e30, 1e-6, 1e6)
    content[_PIXDIM + 4 : _PIXDIM + 16] = spacing.tobytes()
    return _put(place, bytes(content))


def broken_quaternion(place: Path, rng: Rng) -> Path:
    content = bytearray(_patched(_QFORM, [1, 0], "<i2"))
    content[256:268] = np.array(_choice(rng, [2, 0, 0], [np.nan, 0, 0], [0, np.inf, 0], [1e30, 1, 1]), "<f4").tobytes()
    return _put(place, bytes(content))


def broken_offset(place: Path, rng: Rng) -> Path:
    offset = _choice(rng, np.nan, np.inf, -np.inf, -352, 100, 351.5, 1e9, 3e38)
    content = _patched(_VOX_OFFSET, offset, "<f4")
    return _put(place, packed(content), ".nii.gz") if rng.random() < 0.5 else _put(place, content)


def broken_scale(place: Path, rng: Rng) -> Path:
    slope, inter = rng.choice([np.nan, np.inf, 0, 1e38, 1e-38, -1, 1], 2)
    return _put(place, _patched(_SLOPE, [slope, inter], "<f4"))


def unknown_datatype(place: Path, rng: Rng) -> Path:
    return _put(place, _patched(_DATATYPE, _choice(rng, 0, 1, 3, 77, 255, -4, 32767), "<i2"))


def other_datatype(place: Path, rng: Rng) -> Path:
    """A type of another width: fewer or more bytes than the voxels have."""
    return _put(place, _patched(_DATATYPE, _choice(rng, 2, 8, 16, 64, 256, 1024), "<i2"))


def four_dimensions(place: Path, rng: Rng) -> Path:
    return _put_image(place, np.stack([voxels()] * int(rng.integers(2, 4)), axis=3))


def colour(place: Path, rng: Rng) -> Path:
    names = ["R", "G", "B", "A"][: int(_choice(rng, 3, 4))]  # type: ignore[call-overload]
    return _put_image(place, np.zeros(SHAPE, [(name, "u1") for name in names]))


def complex_numbers(place: Path, rng: Rng) -> Path:
    return _put_image(place, voxels().astype(_choice(rng, np.complex64, np.complex128)))


def wide_integers(place: Path, rng: Rng) -> Path:
    return _put_image(place, voxels().astype(_choice(rng, np.int64, np.uint64, np.int32, np.float64)))


def extreme_integers(place: Path, rng: Rng) -> Path:
    return _put_image(place, rng.integers(-(2**63), 2**63 - 1, SHAPE, np.int64))


def no_finite_voxel(place: Path, rng: Rng) -> Path:
    return _put_image(place, np.full(SHAPE, _choice(rng, np.nan, np.inf, -np.inf), np.float32))


def some_voxels_not_finite(place: Path, rng: Rng) -> Path:
    image = voxels().astype(np.float32)
    image[rng.random(SHAPE) < 0.1] = _choice(rng, np.nan, np.inf, -np.inf)
    return _put_image(place, image)


def pair_of_files(place: Path, rng: Rng) -> Path:
    nibabel.save(nibabel.Nifti1Pair(voxels(), AFFINE), f"{place}.img")
    return _put(place, place.with_name(place.name + ".hdr").read_bytes())


def another_format(place: Path, rng: Rng) -> Path:
    content = _choice(
        rng,
        b"NRRD0004\ntype: short\n\n" + good()[352:],
        b"\x89PNG\r\n\x1a\n" + rng.bytes(900),
        b"PK\x03\x04" + rng.bytes(900),
        b"\0" * 128 + b"DICM" + rng.bytes(900),
        b"<html><body>503 Service Unavailable</body></html>" * 20,
        gzip.compress(packed(good())),
    )
    return _put(place, content, str(_choice(rng, ".nii", ".nii.gz")))  # type: ignore[arg-type]


def gzip_named_plain(place: Path, rng: Rng) -> Path:
    return _put(place, packed(good()))


def plain_named_gzip(place: Path, rng: Rng) -> Path:
    return _put(place, good(), ".nii.gz")


def behind_the_voxels(place: Path, rng: Rng) -> Path:
    content = good() + _choice(rng, good(), good()[352:], rng.bytes(100), b"\0" * 100_000)  # type: ignore[operator]
    return _put(place, packed(content), ".nii.gz") if rng.random() < 0.5 else _put(place, content)


def padded_with_zeros(place: Path, rng: Rng) -> Path:
    content = good() + bytes(-len(good()) % 512)
    return _put(place, packed(content), ".nii.gz") if rng.random() < 0.5 else _put(place, content)


def behind_the_gzip(place: Path, rng: Rng) -> Path:
    return _put(place, packed(good()) + rng.bytes(50), ".nii.gz")


def newlines_translated(place: Path, rng: Rng) -> Path:
    whole = good(int(rng.integers(99)))
    content = _choice(rng, packed(whole), whole)
    return _put(place, content.replace(b"\n", b"\r\n"))  # type: ignore[attr-defined]


def bytes_taken_for_text(place: Path, rng: Rng) -> Path:
    content = _choice(rng, packed(good()), good())
    return _put(place, content.decode("utf-8", "replace").encode())  # type: ignore[attr-defined]


def hole_in_gzip(place: Path, rng: Rng) -> Path:
    whole = packed(good())
    start = int(rng.integers(0, len(whole) - 600))
    return _put(place, whole[:start] + bytes(512) + whole[start + 512 :], ".nii.gz")


def empty_file(place: Path, rng: Rng) -> Path:
    return _put(place, b"", str(_choice(rng, ".nii", ".nii.gz")))


def folder_named_like_a_file(place: Path, rng: Rng) -> Path:
    path = place.with_name(place.name + ".nii.gz")
    path.mkdir()
    return path


def pipe_named_like_a_file(place: Path, rng: Rng) -> Path:
    path = place.with_name(place.name + ".nii")
    os.mkfifo(path)
    return path


def missing_file(place: Path, rng: Rng) -> Path:
    return place.with_name(place.name + ".nii")


def dangling_link(place: Path, rng: Rng) -> Path:
    path = place.with_name(place.name + ".nii")
    path.symlink_to("nowhere.nii")
    return path


def link_loop(place: Path, rng: Rng) -> Path:
    path, other = (place.with_name(place.name + suffix) for suffix in (".nii", "-back.nii"))
    path.symlink_to(other.name)
    other.symlink_to(path.name)
    return path


def unreadable(place: Path, rng: Rng) -> Path:
    """The campaign refuses to open files of this name: root may read whatever chmod says."""
    path = _put(place, good())
    path.chmod(0)
    return path


def _bomb(start: bytes, gib: float) -> bytes:
    """Gzip members: ``start``, then zeros for 32 MiB each."""
    return packed(start) + _zeros() * int(gib * 32)


@cache
def _zeros() -> bytes:
    return gzip.compress(bytes(1 << 25), 9, mtime=0)


def bomb_behind_the_voxels(place: Path, rng: Rng) -> Path:
    return _put(place, _bomb(good(), 10), ".nii.gz")


def bomb_as_large_as_it_claims(place: Path, rng: Rng) -> Path:
    code, bits = ((4, 16), (64, 64))[int(rng.integers(2))]
    content = bytearray(_patched(_DIM + 2, [2048, 2048, 10 * 2**30 // (bits // 8) // 2**22], "<i2"))
    content[_DATATYPE : _DATATYPE + 4] = np.array([code, bits], "<i2").tobytes()
    return _put(place, _bomb(bytes(content[:352]), 10), ".nii.gz")


def bomb_before_the_voxels(place: Path, rng: Rng) -> Path:
    return _put(place, _bomb(_patched(_VOX_OFFSET, 9e9, "<f4"), 10), ".nii.gz")


def bomb_of_zeros(place: Path, rng: Rng) -> Path:
    return _put(place, _bomb(b"", 10), ".nii.gz")


def sparse_file(place: Path, rng: Rng) -> Path:
    """As many bytes as claimed, none of them on the disk: 840 GiB, or 4 GiB and so more than the campaign may take."""
    shape = _choice(rng, [30000, 30000, 500], [2048, 2048, 512])
    path = _put(place, _patched(_DIM + 2, shape, "<i2")[:352])
    with path.open("r+b") as file:
        file.truncate(352 + 2 * math.prod(shape))  # type: ignore[call-overload]
    return path


NIFTI_FAULTS: list[Fault] = [
    *faults_of(cut_gzip, 12),
    *faults_of(cut_plain, 8),
    *faults_of(cut_header, 4),
    *faults_of(flipped_gzip_stream, 14),
    *faults_of(flipped_gzip_header, 5, EITHER),
    *faults_of(flipped_header, 24, EITHER),
    *faults_of(flipped_geometry, 24, EITHER),
    *faults_of(flipped_nifti2_header, 12, EITHER),
    *faults_of(flipped_voxels, 3, HARMLESS),
    *faults_of(noise_header, 3),
    *faults_of(noise_behind_the_magic, 8),
    *faults_of(dims_too_large, 5),
    *faults_of(dims_too_small, 6),
    *faults_of(dims_zero_or_negative, 6),
    *faults_of(dims_unknown_count, 4),
    *faults_of(dims_huge, 5),
    *faults_of(dims_large_in_a_dense_gzip, 1),
    *faults_of(nan_affine, 5),
    *faults_of(singular_affine, 4),
    *faults_of(absurd_affine, 8),
    *faults_of(spacing_of_no_body, 5),
    *faults_of(absurd_origin, 3),
    *faults_of(absurd_spacing_alone, 8),
    *faults_of(broken_quaternion, 4),
    *faults_of(broken_offset, 10),
    *faults_of(broken_scale, 6, EITHER),
    *faults_of(unknown_datatype, 5),
    *faults_of(other_datatype, 5),
    *faults_of(four_dimensions, 2),
    *faults_of(colour, 2),
    *faults_of(complex_numbers, 2),
    *faults_of(wide_integers, 4, HARMLESS),
    *faults_of(extreme_integers, 1, EITHER),
    *faults_of(no_finite_voxel, 3),
    *faults_of(some_voxels_not_finite, 2, HARMLESS),
    *faults_of(pair_of_files, 1),
    *faults_of(another_format, 7),
    *faults_of(gzip_named_plain, 1, HARMLESS),
    *faults_of(plain_named_gzip, 1, HARMLESS),
    *faults_of(behind_the_voxels, 5),
    *faults_of(padded_with_zeros, 2, HARMLESS),
    *faults_of(behind_the_gzip, 2),
    *faults_of(newlines_translated, 4),
    *faults_of(bytes_taken_for_text, 3),
    *faults_of(hole_in_gzip, 4),
    *faults_of(empty_file, 2),
    *faults_of(folder_named_like_a_file, 1),
    *faults_of(pipe_named_like_a_file, 1),
    *faults_of(missing_file, 1),
    *faults_of(dangling_link, 1),
    *faults_of(link_loop, 1),
    *faults_of(unreadable, 1),
    *faults_of(bomb_behind_the_voxels, 1),
    *faults_of(bomb_as_large_as_it_claims, 2),
    *faults_of(bomb_before_the_voxels, 1),
    *faults_of(bomb_of_zeros, 1),
    *faults_of(sparse_file, 4),
]
