"""A DICOM-SEG object as it lies in its file: its segments, and its frames with their places; pydicom reads it.

Nothing here knows of classes or of an image. BINARY objects and label maps are read, and FRACTIONAL ones that hold
nothing but 0 and their largest value; PS3.3 A.51 and C.8.20.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import StudyError
from medseg.study.dicom.series import named, scan_files
from medseg.study.formats import is_dicom_name
from medseg.types import Affine

SEG_CLASSES = {"1.2.840.10008.5.1.4.1.1.66.4": "BINARY", "1.2.840.10008.5.1.4.1.1.66.7": "LABELMAP"}
"""SOP classes of segmentations; surfaces are others."""

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MOST_LISTED = 5
_RAW = {"", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"}
"""Transfer syntaxes whose pixels lie in the file (inflated, the last) one after the other."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One plane of a segmentation.

    Attributes:
        index: its place in the file, from 0.
        segment: number of the segment that it shows; 0 where its pixels are numbers of segments.
        affine: (4, 4), (column, row, -) -> RAS+ mm; its third column is the unit direction across the plane.
    """

    index: int
    segment: int
    affine: Affine


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A DICOM-SEG object.

    Attributes:
        segments: number -> label, "" where it has none.
        frames: in the file's order; planes in which nothing was found may be missing.
        shape: (columns, rows) of every frame.
        spacing_mm: from plane to plane as the file says it, which may be none of what its frames lie apart; or None.
        thickness_mm: of a plane; None where the file does not say.
        whole: the value of a voxel that lies in a segment: 1, or the largest of a FRACTIONAL object.
        dataset: pydicom's.
        what: names the study in messages.
    """

    segments: Mapping[int, str]
    frames: tuple[Frame, ...]
    shape: tuple[int, int]
    spacing_mm: float | None
    thickness_mm: float | None
    whole: int
    dataset: Any
    what: str

    def pixels(self, frame: Frame) -> NDArray[Any]:
        """(columns, rows) of one frame: bool, or numbers of segments where the object is a label map.

        Raises:
            StudyError: the frame cannot be decoded, or holds fractions.
        """
        with quiet_pydicom():
            try:
                stored = _stored(self.dataset, frame.index, (self.shape[1], self.shape[0]))
            except Exception as error:
                raise StudyError(
                    f"{self.what}: frame {frame.index + 1} cannot be decoded ({error}); copy the file again, or "
                    "convert it to an uncompressed transfer syntax"
                ) from error
        if frame.segment == 0:
            return stored.T
        inside: NDArray[np.bool_] = stored == self.whole
        if parts := int(np.count_nonzero(stored)) - int(np.count_nonzero(inside)):
            raise StudyError(
                f"{self.what}: expected each voxel in a segment or not, found {parts} voxels with fractions in "
                f"frame {frame.index + 1} (segment {frame.segment}); export it as BINARY"
            )
        return inside.T


def find_segmentation(path: Path, what: str) -> Path:
    """The DICOM-SEG file that a path means: itself, or the only one right in a folder.

    Raises:
        StudyError: nothing there, no DICOM-SEG, or several of them in the folder.
    """
    if not path.is_dir():
        return path
    scan = scan_files(path.iterdir())
    files = [h.path for headers in scan.series.values() for h in headers if h.sop_class in SEG_CLASSES]
    if len(files) == 1:
        return files[0]
    if files:
        names = ", ".join(sorted(file.name for file in files)[:_MOST_LISTED])
        raise StudyError(f"{what}: expected one DICOM-SEG in the folder, found {len(files)} ({names}); name the file")
    others = ", ".join(named(headers) for headers in list(scan.series.values())[:_MOST_LISTED])
    broken = f"{len(scan.broken)} broken files" if scan.broken else "no DICOM"
    raise StudyError(f"{what}: expected a DICOM-SEG in the folder, found {others or broken}")


def is_segmentation(path: Path) -> bool:
    """Whether a file that DICOM names are given to is a DICOM-SEG; reads its header only, and never raises."""
    if not is_dicom_name(path.name):
        return False
    return any(h.sop_class in SEG_CLASSES for headers in scan_files([path]).series.values() for h in headers)


def read_segmentation(path: Path, what: str) -> Segmentation:
    """Read one DICOM-SEG object; its frames are decoded when they are asked for.

    Args:
        path: of the file.
        what: names the study in messages.

    Raises:
        StudyError: pydicom is not installed, the file cannot be read or is no DICOM-SEG, or lacks segments, frames, or
            the places of frames.
    """
    _require_pydicom(what)
    with quiet_pydicom():
        data = _dataset(path, what)
        try:
            return _described(data, what)
        except Exception as error:
            raise StudyError(f"{what}: the DICOM-SEG is damaged, or lacks what it needs ({error})") from error


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Stop pydicom and highdicom from judging what was written: they quote it, patients' names among it."""
    from pydicom.config import disable_value_validation

    with disable_value_validation(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="highdicom|pydicom")
        yield


def _require_pydicom(what: str) -> None:
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise StudyError(
            f"{what}: a DICOM-SEG needs pydicom, which is not installed; pip install 'medseg[dicom]'"
        ) from error


def _dataset(path: Path, what: str) -> Any:
    from pydicom import dcmread

    try:
        data = dcmread(path)
        kind, modality = str(data.get("SOPClassUID", "")), data.get("Modality")
    except FileNotFoundError:
        raise StudyError(f"{what}: no such file") from None
    except Exception as error:  # here as below: bytes that are wrong lead pydicom to raise whatever comes
        raise StudyError(f"{what}: expected a DICOM-SEG, could not read it ({error}); copy it again") from error
    if kind not in SEG_CLASSES:
        raise StudyError(f"{what}: expected a DICOM-SEG, found {modality or 'an object of no modality'}")
    return data


def _described(data: Any, what: str) -> Segmentation:
    segments = {int(s.SegmentNumber): str(s.get("SegmentLabel", "")).strip() for s in data.SegmentSequence}
    shared = _first(data, "SharedFunctionalGroups")
    numbered = SEG_CLASSES[data.SOPClassUID] == "LABELMAP"
    frames = tuple(
        Frame(index, 0 if numbered else _segment(own, shared), _affine(own, shared))
        for index, own in enumerate(data.PerFrameFunctionalGroupsSequence)
    )
    if len(frames) != int(data.NumberOfFrames):
        raise ValueError(f"{data.NumberOfFrames} frames, the places of {len(frames)}")
    measures = _group("PixelMeasures", data.PerFrameFunctionalGroupsSequence[0], shared)
    spacing, thickness = (float(measures.get(name) or 0) or None for name in ("SpacingBetweenSlices", "SliceThickness"))
    whole = int(data.MaximumFractionalValue) if data.get("SegmentationType") == "FRACTIONAL" else 1
    shape = int(data.Columns), int(data.Rows)
    return Segmentation(segments, frames, shape, spacing, thickness, whole, data, what)


def _first(groups: Any, name: str) -> Any:
    """The only item of a sequence, or None."""
    sequence = groups.get(f"{name}Sequence") if groups is not None else None
    return sequence[0] if sequence else None


def _group(name: str, own: Any, shared: Any) -> Any:
    """A functional group of a frame, which all frames may share."""
    group = _first(own, name) or _first(shared, name)
    if group is None:
        raise ValueError(f"no {name}Sequence")
    return group


def _segment(own: Any, shared: Any) -> int:
    number = int(_group("SegmentIdentification", own, shared).ReferencedSegmentNumber)
    if number < 1:
        raise ValueError(f"a frame of segment {number}")
    return number


def _affine(own: Any, shared: Any) -> Affine:
    across, down = np.array(_group("PlaneOrientation", own, shared).ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = map(float, _group("PixelMeasures", own, shared).PixelSpacing)
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1], lps[:3, 2] = across * between_columns, down * between_rows, np.cross(across, down)
    lps[:3, 3] = np.array(_group("PlanePosition", own, shared).ImagePositionPatient, float)
    affine: Affine = _LPS_TO_RAS @ lps
    return affine


def _stored(data: Any, index: int, shape: tuple[int, int]) -> NDArray[Any]:
    """(rows, columns) of one frame as stored. Frames of one bit a pixel need not begin with a byte."""
    from pydicom.pixels import iter_pixels

    if str(data.file_meta.get("TransferSyntaxUID", "")) not in _RAW:
        frame: NDArray[Any] = next(iter(iter_pixels(data, indices=[index])))
        return frame.reshape(shape)
    count, bits = shape[0] * shape[1], int(data.BitsAllocated)
    start, end = index * count * bits, (index + 1) * count * bits
    block = np.frombuffer(data.PixelData, np.uint8)[start // 8 : -(-end // 8)]
    if len(block) * 8 < end - start // 8 * 8:
        raise EOFError("the file ends before it")
    if bits == 1:
        return np.unpackbits(block, bitorder="little")[start % 8 :][:count].reshape(shape)
    return block.view(f"<u{bits // 8}").reshape(shape)
