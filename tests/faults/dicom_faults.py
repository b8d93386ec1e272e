"""Bad DICOM series, each made from one small good CT series; a study is a folder of slices."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from fault import EITHER, HARMLESS, Fault, faults_of
from nifti_faults import SHAPE, voxels
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

Rng = np.random.Generator
Slices = dict[str, bytes]

DICOM_AFFINE = np.array([[-6.0, 0, 0, 70], [0, -6.0, 0, 60], [0, 0, 5.0, -40], [0, 0, 0, 1]])
"""RAS+ grid of a whole series; DICOM's own numbers are LPS+."""

COUNT = SHAPE[2]
_UID = "1.2.826.0.1.3680043.8.498.7"
_PIXELS = SHAPE[0] * SHAPE[1] * 2
_SPACING = b"6.0\\6.0 "
_REQUIRED = ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "Rows", "Columns", "PixelData")


def encoded(k: int, seed: int = 0, syntax: str = "", **elements: Any) -> bytes:
    """Slice k as an explicit little endian file; elements by their DICOM keyword, None leaves one out."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, f"{_UID}.{k}"
    data.Modality, data.ImageType, data.SeriesInstanceUID, data.SeriesNumber = "CT", ["ORIGINAL", "PRIMARY"], _UID, 1
    data.SliceThickness, data.PixelSpacing = 5.0, [6.0, 6.0]
    data.ImagePositionPatient = [-70.0, -60.0, -40.0 + 5.0 * k]
    data.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = SHAPE[1], SHAPE[0], 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleIntercept, data.RescaleSlope = 0, 1
    data.PixelData = voxels(seed)[:, :, k].T.astype("<i2").tobytes()
    for keyword, value in elements.items():
        setattr(data, keyword, value)
        if value is None:
            delattr(data, keyword)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = CTImageStorage, f"{_UID}.{k}"
    file = BytesIO()
    data.save_as(file, enforce_file_format=True)
    content = file.getvalue()
    return content if not syntax else _with_syntax(content, syntax)


def _with_syntax(content: bytes, syntax: str) -> bytes:
    """The same bytes under another transfer syntax UID."""
    old = ExplicitVRLittleEndian.encode() + b"\0"
    new = syntax.encode() + b"\0" * (len(syntax) % 2)
    mark = b"\x02\x00\x10\x00UI"
    content = content.replace(mark + bytes([len(old), 0]) + old, mark + bytes([len(new), 0]) + new)
    length = int.from_bytes(content[140:144], "little") + len(new) - len(old)
    return content[:140] + length.to_bytes(4, "little") + content[144:]


@cache
def _good(seed: int) -> tuple[bytes, ...]:
    return tuple(encoded(k, seed) for k in range(COUNT))


def good_slices(seed: int = 0) -> Slices:
    """File name -> bytes of a whole series."""
    return {f"{k:03d}.dcm": content for k, content in enumerate(_good(seed))}


def write_slices(folder: Path, slices: Slices) -> Path:
    folder.mkdir()
    for name, content in slices.items():
        (folder / name).write_bytes(content)
    return folder


def _series(place: Path, change: Callable[[Slices, list[str]], None]) -> Path:
    slices = good_slices()
    change(slices, list(slices))
    return write_slices(place, slices)


def _one(place: Path, rng: Rng, change: Callable[[bytes], bytes]) -> Path:
    """A series whose one slice is changed, the first and the last ones included."""
    slices, name = good_slices(), f"{rng.integers(COUNT):03d}.dcm"
    return write_slices(place, {**slices, name: change(slices[name])})


def _every(place: Path, change: Callable[[bytes], bytes]) -> Path:
    return write_slices(place, {name: change(content) for name, content in good_slices().items()})


def _some(place: Path, rng: Rng, change: Callable[[bytes], bytes]) -> Path:
    return _one(place, rng, change) if rng.random() < 0.5 else _every(place, change)


def _elements(place: Path, rng: Rng, **elements: Any) -> Path:
    """One slice, or all of them, with other elements."""
    chosen = {int(rng.integers(COUNT))} if rng.random() < 0.5 else set(range(COUNT))
    changed = {f"{k:03d}.dcm": encoded(k, **elements) for k in chosen}
    return write_slices(place, good_slices() | changed)


def _flipped(content: bytes, first: int, last: int, rng: Rng) -> bytes:
    position = int(rng.integers(first, last))
    return content[:position] + bytes([content[position] ^ int(rng.integers(1, 256))]) + content[position + 1 :]


def cut_slice(place: Path, rng: Rng) -> Path:
    return _one(place, rng, lambda content: content[: int(rng.integers(0, len(content)))])


def cut_slices(place: Path, rng: Rng) -> Path:
    return _every(place, lambda content: content[: int(rng.integers(0, len(content)))])


def flipped_slice_header(place: Path, rng: Rng) -> Path:
    return _one(place, rng, lambda content: _flipped(content, 128, len(content) - _PIXELS, rng))


def flipped_series_header(place: Path, rng: Rng) -> Path:
    """The same byte of every slice, as a writer with a fault would."""
    start, seed = int(rng.integers(128, len(_good(0)[0]) - _PIXELS)), int(rng.integers(1 << 30))
    return _every(place, lambda content: _flipped(content, start, start + 1, np.random.default_rng(seed)))


def flipped_pixels(place: Path, rng: Rng) -> Path:
    return _one(place, rng, lambda content: _flipped(content, len(content) - _PIXELS, len(content), rng))


def missing_element(place: Path, rng: Rng) -> Path:
    return _elements(place, rng, **{str(rng.choice(_REQUIRED)): None})


def spacing_that_is_none(place: Path, rng: Rng) -> Path:
    new = rng.choice(
        [b"0.0\\0.0", b"nan\\nan", b"inf\\inf", b"-60\\-60", b"abc\\def", b"1e9\\1e9", b"1e-9\\6", b"1e30\\6"]
    )
    assert all(_SPACING in content for content in _good(0))
    return _some(place, rng, lambda content: content.replace(_SPACING, bytes(new).ljust(8)))


def position_that_is_none(place: Path, rng: Rng) -> Path:
    old = b"-70.0\\-60.0\\"
    new = rng.choice([b"nan", b"inf", b"1e30", b"x"])
    return _some(place, rng, lambda content: content.replace(old, (bytes(new) + b"\\60").ljust(len(old) - 1) + b"\\"))


def orientation_that_is_none(place: Path, rng: Rng) -> Path:
    choices = ([0.0] * 6, [1.0, 0, 0, 1.0, 0, 0], [1.0, 0, 0, 0, 0.5, 0.5], [9.0, 0, 0, 0, 9.0, 0])
    return _elements(place, rng, ImageOrientationPatient=list(choices[int(rng.integers(4))]))


def rows_huge(place: Path, rng: Rng) -> Path:
    return _elements(place, rng, Rows=int(rng.integers(2000, 65536)), Columns=int(rng.integers(2000, 65536)))


def rows_fewer(place: Path, rng: Rng) -> Path:
    k = int(rng.integers(COUNT))
    return write_slices(place, good_slices() | {f"{k:03d}.dcm": encoded(k, Rows=int(rng.integers(1, SHAPE[1])))})


def rows_zero(place: Path, rng: Rng) -> Path:
    return _elements(place, rng, Rows=0)


def wrong_syntax(place: Path, rng: Rng) -> Path:
    """Most decoders take pixels without fragments for uncompressed ones, whatever the syntax says: here they are."""
    numbers = ("1.99", "2", "4.50", "4.57", "4.70", "4.80", "4.90", "4.201", "4.100", "5", "77")
    syntax = f"1.2.840.10008.1.2.{numbers[int(rng.integers(len(numbers)))]}"
    return _some(place, rng, lambda content: _with_syntax(content, syntax))


def noise_in_a_compressed_stream(place: Path, rng: Rng) -> Path:
    number = str(rng.choice(["4.50", "4.70", "4.80", "4.90", "5"]))
    noise = {f"{k:03d}.dcm": _with_noise(k, f"1.2.840.10008.1.2.{number}", rng) for k in range(COUNT)}
    return write_slices(place, noise)


def _with_noise(k: int, syntax: str, rng: Rng) -> bytes:
    start = {"4.50": b"\xff\xd8", "4.70": b"\xff\xd8\xff\xc3", "4.80": b"\xff\xd8\xff\xf7"}.get(
        syntax[18:], b"\xff\x4f\xff\x51"
    )
    whole = encoded(k, PixelData=encapsulate([start + rng.bytes(400)]))
    mark = whole.rindex(b"\xe0\x7f\x10\x00OW")
    return _with_syntax(whole[: mark + 8] + b"\xff\xff\xff\xff" + whole[mark + 12 :], syntax)


def deflated_bomb(place: Path, rng: Rng) -> Path:
    """A deflated data set whose pixels are followed by 2 GiB of zeros, in 2 MB."""
    whole = _with_syntax(_good(0)[0], "1.2.840.10008.1.2.1.99")
    start = 144 + int.from_bytes(whole[140:144], "little")
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    body = packer.compress(whole[start:-_PIXELS] + bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    content = whole[:start] + body + zeros * 128 + packer.flush()
    return write_slices(place, {"000.dcm": content})


def missing_slice(place: Path, rng: Rng) -> Path:
    return _series(place, lambda slices, names: slices.pop(names[int(rng.integers(1, COUNT - 1))]))  # type: ignore[arg-type,return-value]


def copied_slice(place: Path, rng: Rng) -> Path:
    return _series(place, lambda slices, names: slices.update(again=slices[names[int(rng.integers(COUNT))]]))


def other_slice_at_one_position(place: Path, rng: Rng) -> Path:
    k = int(rng.integers(COUNT))
    return _series(place, lambda slices, names: slices.update(again=encoded(k, seed=1)))


def mixed_orientations(place: Path, rng: Rng) -> Path:
    turned = {f"{k:03d}.dcm": encoded(k, ImageOrientationPatient=[0.0, 1.0, 0, 0, 0, 1.0]) for k in range(4)}
    return write_slices(place, good_slices() | turned)


def mixed_sizes(place: Path, rng: Rng) -> Path:
    k = int(rng.integers(COUNT))
    small = encoded(k, Rows=10, Columns=12, PixelData=bytes(240))
    return write_slices(place, good_slices() | {f"{k:03d}.dcm": small})


def mixed_spacings(place: Path, rng: Rng) -> Path:
    k = int(rng.integers(COUNT))
    return write_slices(place, good_slices() | {f"{k:03d}.dcm": encoded(k, PixelSpacing=[6.5, 6.0])})


def uneven_distances(place: Path, rng: Rng) -> Path:
    moved = [-70.0, -60.0, -40.0 + 5.0 * 5 + 1.7]
    return write_slices(place, good_slices() | {"005.dcm": encoded(5, ImagePositionPatient=moved)})


def colour_slices(place: Path, rng: Rng) -> Path:
    elements = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "BitsAllocated": 8, "PlanarConfiguration": 0}
    return _elements(place, rng, **elements, PixelData=bytes(SHAPE[0] * SHAPE[1] * 3))


def many_frames(place: Path, rng: Rng) -> Path:
    return write_slices(place, {"000.dcm": encoded(0, NumberOfFrames=4, PixelData=bytes(_PIXELS * 4))})


def two_series(place: Path, rng: Rng) -> Path:
    other = {f"b{k:03d}.dcm": encoded(k, SeriesInstanceUID=f"{_UID}.2") for k in range(3)}
    return write_slices(place, good_slices() | other)


def another_modality(place: Path, rng: Rng) -> Path:
    return write_slices(place, {f"{k:03d}.dcm": encoded(k, Modality="PT") for k in range(COUNT)})


def not_dicom_among_slices(place: Path, rng: Rng) -> Path:
    other = (b"", b"these are notes, no slice\n" * 20)[int(rng.integers(2))]
    return write_slices(place, good_slices() | {"020.dcm": other})


def not_dicom_at_all(place: Path, rng: Rng) -> Path:
    return write_slices(place, {"000.dcm": b"notes" * 99, "001.dcm": b""})


def text_named_dicom(place: Path, rng: Rng) -> Path:
    path = place.with_name(place.name + ".dcm")
    path.write_bytes(b"notes" * 99)
    return path


def empty_folder(place: Path, rng: Rng) -> Path:
    return write_slices(place.with_name(place.name + ("", ".dcm", ".mha")[int(rng.integers(3))]), {})


def _without_a_slice(place: Path, k: int) -> Path:
    folder = write_slices(place, good_slices())
    (folder / f"{k:03d}.dcm").unlink()
    return folder / f"{k:03d}.dcm"


def folder_in_place_of_a_slice(place: Path, rng: Rng) -> Path:
    _without_a_slice(place, int(rng.integers(1, COUNT - 1))).mkdir()
    return place


def pipe_in_place_of_a_slice(place: Path, rng: Rng) -> Path:
    os.mkfifo(_without_a_slice(place, int(rng.integers(COUNT))))
    return place


def dead_link_in_place_of_a_slice(place: Path, rng: Rng) -> Path:
    _without_a_slice(place, int(rng.integers(COUNT))).symlink_to("gone.dcm")
    return place


def unreadable_slice(place: Path, rng: Rng) -> Path:
    _without_a_slice(place, COUNT - 1).with_name("unreadable.dcm").write_bytes(_good(0)[-1])
    return place


def names_without_order(place: Path, rng: Rng) -> Path:
    order = rng.permutation(COUNT)
    return write_slices(place, {f"IM{order[k]}": content for k, content in enumerate(_good(0))})


DICOM_FAULTS: list[Fault] = [
    *faults_of(cut_slice, 12),
    *faults_of(cut_slices, 2),
    *faults_of(flipped_slice_header, 14, EITHER),
    *faults_of(flipped_series_header, 14, EITHER),
    *faults_of(flipped_pixels, 2, HARMLESS),
    *faults_of(missing_element, 10),
    *faults_of(spacing_that_is_none, 8),
    *faults_of(position_that_is_none, 5),
    *faults_of(orientation_that_is_none, 4),
    *faults_of(rows_huge, 4),
    *faults_of(rows_fewer, 3),
    *faults_of(rows_zero, 2),
    *faults_of(wrong_syntax, 9, EITHER),
    *faults_of(noise_in_a_compressed_stream, 4),
    *faults_of(deflated_bomb, 1),
    *faults_of(missing_slice, 2),
    *faults_of(copied_slice, 2, HARMLESS),
    *faults_of(other_slice_at_one_position, 2),
    *faults_of(mixed_orientations, 1),
    *faults_of(mixed_sizes, 2),
    *faults_of(mixed_spacings, 1),
    *faults_of(uneven_distances, 1),
    *faults_of(colour_slices, 2),
    *faults_of(many_frames, 1),
    *faults_of(two_series, 1),
    *faults_of(another_modality, 1),
    *faults_of(not_dicom_among_slices, 2),
    *faults_of(not_dicom_at_all, 1),
    *faults_of(text_named_dicom, 1),
    *faults_of(empty_folder, 3),
    *faults_of(folder_in_place_of_a_slice, 1),
    *faults_of(pipe_in_place_of_a_slice, 2),
    *faults_of(dead_link_in_place_of_a_slice, 2),
    *faults_of(unreadable_slice, 1),
    *faults_of(names_without_order, 1, HARMLESS),
]
