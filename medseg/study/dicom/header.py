"""What a DICOM file says about itself before its pixels, from the first kilobytes of it.

Written by hand because nothing that reading may depend on does it well: SimpleITK reads each file whole (four times the
time of this, and seconds for one odd object), gives no reason for objects without pixels, and turns a missing pixel
spacing into 1 mm. This reads as far as it needs and touches no pixels. DICOM PS3.5 (encoding), PS3.10 (file format).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from medseg.errors import StudyError

_IMPLICIT, _DEFLATED, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"

_WANTED = {
    0x00020010: "syntax",
    0x00080008: "image_type",
    0x00080016: "sop_class",
    0x00080060: "modality",
    0x00180050: "thickness",
    0x0020000E: "series_uid",
    0x00200011: "series_number",
    0x00200032: "position",
    0x00200037: "orientation",
    0x00200100: "temporal_position",
    0x00280002: "samples",
    0x00280004: "photometric",
    0x00280008: "frames",
    0x00280010: "rows",
    0x00280011: "columns",
    0x00280030: "spacing",
    0x00280100: "bits",
    0x00280103: "signed",
    0x00280120: "padding",
    0x00280121: "padding_limit",
    0x00281052: "intercept",
    0x00281053: "slope",
}
_LAST = max(_WANTED)
_BINARY = {"samples", "rows", "columns", "bits", "signed", "padding", "padding_limit"}
_DECIMAL = ("frames", "position", "orientation", "spacing", "thickness", "slope", "intercept")

_LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_LONGEST_VALUE = 4096
_DEEPEST = 16
_INFLATED = 1 << 22
"""Bytes that are read of a deflated file, and made of it, to look for its header."""

Values = tuple[float, ...]


@dataclass(frozen=True)
class Header:
    """One DICOM file's description. What the file does not say is "", (), None or 0.

    Attributes:
        path: the file.
        syntax: transfer syntax UID.
        sop_class: what kind of object it is, a UID.
        modality: CT, MR, SEG, ...
        image_type: e.g. ("ORIGINAL", "PRIMARY", "AXIAL").
        series_uid: which series the file belongs to.
        series_number: as a person sees it.
        temporal_position: tells the phases of a dynamic series apart.
        rows: pixels down; 0 where the object has no pixels.
        columns: pixels across.
        frames: images in the file.
        samples: numbers a pixel; 3 for colour.
        photometric: MONOCHROME2, RGB, ...
        bits: allocated for a sample.
        position: centre of the first pixel in mm, LPS+.
        orientation: direction cosines, LPS+, of a row (columns increasing), then of a column (rows increasing).
        spacing: mm between rows, between columns.
        thickness: mm; not the distance between slices.
        padding: the stored values, lowest and highest, that mean "no measurement here".
        slope: HU a stored unit; None where the file does not say.
        intercept: HU of a stored 0.
    """

    path: Path
    syntax: str = ""
    sop_class: str = ""
    modality: str = ""
    image_type: tuple[str, ...] = ()
    series_uid: str = ""
    series_number: str = ""
    temporal_position: str = ""
    rows: int = 0
    columns: int = 0
    frames: int = 1
    samples: int = 1
    photometric: str = ""
    bits: int = 16
    position: Values = ()
    orientation: Values = ()
    spacing: Values = ()
    thickness: float | None = None
    padding: tuple[int, int] | None = None
    slope: float | None = None
    intercept: float | None = None


def read_header(path: Path) -> Header | None:
    """Describe one file.

    Returns:
        None where the file is no DICOM: empty, or of another kind.

    Raises:
        StudyError: it begins as DICOM and is cut short or damaged; the message has no path.
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=1 << 14) as file:
        start = _start(file)
        if start is None:
            return None
        file.seek(start)
        try:
            elements = dict(_wanted(file))
        except (EOFError, struct.error, zlib.error, RecursionError) as error:
            if start == 0:
                return None  # it had no magic word, and turned out to be something else
            raise StudyError(f"its DICOM header is cut short or damaged ({error})") from error
    if "rows" not in elements and _text(elements.get("sop_class", b"")) in ("", _CT_IMAGE) and start:
        raise StudyError("its DICOM header is cut short or damaged (a CT image without pixels)")
    if start == 0 and not (elements.get("sop_class") or elements.get("modality")):
        return None
    return _header(path, elements)


def _start(file: IO[bytes]) -> int | None:
    """Where the elements begin: after the magic word, or at once in old files without one; None if neither."""
    block = file.read(132)
    if block[128:] == b"DICM":
        return 132
    if len(block) < 132 or block[0:2] not in (b"\x02\x00", b"\x08\x00") or block[3] != 0:
        return None
    explicit, implicit_length = block[4:6].isalpha() and block[4:6].isupper(), int.from_bytes(block[4:8], "little")
    return 0 if explicit or implicit_length <= _LONGEST_VALUE else None


def _wanted(file: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """The elements of interest as (name, bytes in little-endian order)."""
    syntax = ""
    meta = _Encoding(explicit=True, order="<")
    while (tag := meta.peek(file)) >> 16 == 2:
        value = meta.read(file)[1]
        if _WANTED.get(tag) == "syntax":
            syntax = _text(value)
            yield "syntax", value
    if syntax == _DEFLATED:
        file = BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(_INFLATED), _INFLATED))
    if not syntax:  # no meta group: the first element shows which of the two it is
        place = file.tell()
        file.seek(4, 1)
        syntax = "" if file.read(2).isalpha() else _IMPLICIT
        file.seek(place)
    data = _Encoding(explicit=syntax != _IMPLICIT, order=">" if syntax == _BIG_ENDIAN else "<")
    while not _at_end(file) and (tag := data.peek(file)) <= _LAST:
        value = data.read(file)[1]
        if name := _WANTED.get(tag):
            yield name, value[::-1] if name in _BINARY and data.order == ">" else value


@dataclass(frozen=True)
class _Encoding:
    explicit: bool
    order: str

    def peek(self, file: IO[bytes]) -> int:
        """The next element's tag."""
        head = _exactly(file, 4)
        file.seek(-4, 1)
        group, element = struct.unpack(self.order + "HH", head)
        return int(group) << 16 | int(element)

    def read(self, file: IO[bytes], depth: int = 0) -> tuple[int, bytes]:
        """Step over one element; its tag, and its value where that is short and the tag is wanted."""
        tag, head = self.peek(file), _exactly(file, 8)
        (length,) = struct.unpack(self.order + "L", head[4:])
        vr = head[4:6]
        if self.explicit and tag >> 16 != 0xFFFE:
            if vr in _LONG_VRS:
                (length,) = struct.unpack(self.order + "L", _exactly(file, 4))
            else:
                (length,) = struct.unpack(self.order + "H", head[6:])
        if length == _UNDEFINED:
            inner = _Encoding(False, "<") if vr == b"UN" else self
            inner._skip_items(file, depth + 1)
            return tag, b""
        if tag in _WANTED and length <= _LONGEST_VALUE:
            return tag, _exactly(file, length)
        file.seek(length, 1)
        return tag, b""

    def _skip_items(self, file: IO[bytes], depth: int) -> None:
        """Step over a sequence of undefined length, to behind its end."""
        if depth > _DEEPEST:
            raise EOFError("sequences within sequences without end")
        while True:
            tag, (length,) = self.peek(file), struct.unpack(self.order + "4xL", _exactly(file, 8))
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise EOFError("a sequence holds something that is no item")
            if length != _UNDEFINED:
                file.seek(length, 1)
                continue
            while self.peek(file) != _ITEM_END:
                self.read(file, depth)
            file.seek(8, 1)


def _at_end(file: IO[bytes]) -> bool:
    """Whether the file ends right here, rather than before here."""
    if file.read(1):
        file.seek(-1, 1)
        return False
    return file.tell() == file.seek(0, 2)


def _exactly(file: IO[bytes], length: int) -> bytes:
    block = file.read(length)
    if len(block) < length:
        raise EOFError("the file ends in it")
    return block


def _header(path: Path, entries: dict[str, bytes]) -> Header:
    text = {name: _text(value) for name, value in entries.items() if name not in _BINARY}
    number = {name: int.from_bytes(value[:2], "little") for name, value in entries.items() if name in _BINARY and value}
    values = {name: _floats(text.get(name, ""), name) for name in _DECIMAL}
    image_type, series_number = text.get("image_type", ""), text.get("series_number", "")
    return Header(
        path,
        syntax=text.get("syntax", ""),
        sop_class=text.get("sop_class", ""),
        modality=text.get("modality", ""),
        image_type=tuple(part.strip() for part in image_type.split("\\") if part.strip()),
        series_uid=text.get("series_uid", ""),
        series_number=series_number if series_number.isdigit() else "",
        temporal_position=text.get("temporal_position", ""),
        rows=number.get("rows", 0),
        columns=number.get("columns", 0),
        frames=int((values["frames"] or (1.0,))[0]),
        samples=number.get("samples", 1),
        photometric=text.get("photometric", ""),
        bits=number.get("bits", 16),
        position=values["position"],
        orientation=values["orientation"],
        spacing=values["spacing"],
        thickness=_first(values["thickness"]),
        padding=_padding(number),
        slope=_first(values["slope"]),
        intercept=_first(values["intercept"]),
    )


def _first(values: Values) -> float | None:
    return values[0] if values else None


def _padding(number: dict[str, int]) -> tuple[int, int] | None:
    if "padding" not in number:
        return None
    ends = [number["padding"], number.get("padding_limit", number["padding"])]
    if number.get("signed"):
        ends = [value - 65536 if value >= 32768 else value for value in ends]
    return min(ends), max(ends)


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip(" \0")


def _floats(text: str, name: str) -> Values:
    try:
        values = tuple(float(part) for part in text.split("\\")) if text else ()
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise StudyError(f"its DICOM header is damaged: the {name} is no number")
    return values
