"""Makes DICOM-SEG objects by hand, with any fault: reading is not only tested on what our writer writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

BINARY, LABELMAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

Plane = tuple[int, Sequence[float], NDArray[Any]]
"""Segment (0 in a label map), position (LPS, mm), pixels (rows, columns)."""


def write_seg(
    path: Path,
    planes: Sequence[Plane],
    segments: dict[int, str],
    *,
    orientation: Sequence[float] = AXIAL,
    spacing: Sequence[float] = (0.75, 0.5),
    sop_class: str = BINARY,
    measures: dict[str, float] | None = None,
    **elements: Any,
) -> Path:
    """One object; ``measures`` are SpacingBetweenSlices and SliceThickness; any element by its keyword."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = sop_class, generate_uid(), "SEG"
    data.PatientName, data.SeriesInstanceUID, data.SeriesNumber = "Secret^Name", generate_uid(), 7
    frames = np.stack([pixels for _, _, pixels in planes])
    data.NumberOfFrames, data.Rows, data.Columns = frames.shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    one_bit = sop_class == BINARY and elements.get("SegmentationType", "BINARY") == "BINARY"
    data.BitsAllocated = data.BitsStored = 1 if one_bit else 8
    data.HighBit = data.BitsAllocated - 1
    flat = frames.astype(np.uint8).ravel()
    packed = np.packbits(flat, bitorder="little") if one_bit else flat
    data.PixelData = packed.tobytes() + b"\0" * (len(packed) % 2)
    data.SegmentationType = "BINARY" if sop_class == BINARY else "LABELMAP"
    data.SegmentSequence = [_item(SegmentNumber=number, SegmentLabel=label) for number, label in segments.items()]
    data.SharedFunctionalGroupsSequence = [
        _item(
            PixelMeasuresSequence=[_item(PixelSpacing=list(spacing), **(measures or {}))],
            PlaneOrientationSequence=[_item(ImageOrientationPatient=[float(f"{x:.8f}") for x in orientation])],
        )
    ]
    data.PerFrameFunctionalGroupsSequence = [_frame(segment, position) for segment, position, _ in planes]
    for keyword, value in elements.items():
        setattr(data, keyword, value)
        if value is None:
            delattr(data, keyword)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = sop_class
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def _frame(segment: int, position: Sequence[float]) -> Dataset:
    place = {"PlanePositionSequence": [_item(ImagePositionPatient=[float(f"{x:.6f}") for x in position])]}
    if segment:
        place["SegmentIdentificationSequence"] = [_item(ReferencedSegmentNumber=segment)]
    return _item(**place)


def _item(**elements: Any) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item
