"""Which series the DICOM files of a folder belong to, and which of them are a CT to be segmented.

Only headers are read (``dicom_header``), each once. What is no DICOM is passed over; a file that is broken is listed
and never hides the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import StudyError
from medseg.study.dicom.header import Header, read_header
from medseg.study.formats import is_dicom_name

NO_UID = "none"
"""Series of the files that name none, as after a careless anonymisation."""

_MODALITIES = {"CT", "MR", "OT", ""}
"""What may be read; MR, other and unnamed with a warning."""

_DIRECTORY, _SECONDARY_CAPTURE = "1.2.840.10008.1.3.10", "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True)
class Scan:
    """What the files of one folder are.

    Attributes:
        series: SeriesInstanceUID (or ``NO_UID``) -> its files, in the order of their names.
        broken: files that are DICOM by their name or beginning and cannot be read, and why.
    """

    series: dict[str, list[Header]] = field(default_factory=dict)
    broken: dict[Path, str] = field(default_factory=dict)


def scan_files(files: Iterable[Path]) -> Scan:
    """Look into every file's header; hidden files and what is no DICOM are passed over."""
    scan = Scan()
    for path in sorted(files):
        if path.name.startswith(".") or path.is_dir():
            continue
        if not path.is_file():  # opening a pipe would wait for ever
            if path.is_symlink() or is_dicom_name(path.name):
                scan.broken[path] = "it is no file, or a link that leads nowhere"
            continue
        try:
            header = read_header(path)
        except OSError as error:
            scan.broken[path] = f"it cannot be read ({error.strerror or error})"
        except StudyError as error:
            scan.broken[path] = str(error)
        else:
            if header is None and is_dicom_name(path.name):
                scan.broken[path] = "it is no DICOM, though its name says so"
            elif header is not None and header.sop_class != _DIRECTORY:
                scan.series.setdefault(header.series_uid or NO_UID, []).append(header)
    return scan


def is_dicom_folder(folder: Path) -> bool:
    """Whether a file right in the folder is DICOM; stops at the first that is."""
    if not folder.is_dir():
        return False
    return any(one.series or one.broken for one in (scan_files([path]) for path in sorted(folder.iterdir())))


def images_of(headers: Sequence[Header]) -> list[Header]:
    """The files of a series that are slices: not its localisers."""
    return [h for h in headers if "LOCALIZER" not in h.image_type]


def why_no_ct(headers: Sequence[Header]) -> str:
    """Why a series is nothing to segment, e.g. ``"SEG"``; "" where it may be."""
    first = headers[0]
    if not any(h.rows and h.columns for h in headers):
        return f"{first.modality or 'an object'} without pixels"
    if first.modality not in _MODALITIES:
        return f"{first.modality}, no CT"
    if not images_of(headers):
        return "a localiser"
    if all(h.sop_class.startswith(_SECONDARY_CAPTURE) and not h.position for h in headers):
        return "a screenshot (secondary capture)"
    return ""


def named(headers: Sequence[Header]) -> str:
    """A series as a person knows it: ``"series 4 (CT, 120 files)"``; never its UID, which often holds a date."""
    first = headers[0]
    files = "1 file" if len(headers) == 1 else f"{len(headers)} files"
    return f"series {first.series_number or 'without a number'} ({first.modality or 'no modality'}, {files})"
