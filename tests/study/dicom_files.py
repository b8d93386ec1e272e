"""Makes small DICOM series with known voxels and places, and every fault that a series can have.

``write_series(folder, count=4)`` writes folder/000.dcm ... 003.dcm, axial slices of ``stored(k)``, 2 mm apart, with
pixels of 0.5 mm across and 0.75 mm down. Every element may be given by its DICOM keyword; None leaves it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
ROWS, COLUMNS = 6, 5
DOWN_MM, ACROSS_MM = 0.75, 0.5
ORIGIN = (-10.0, 20.0, 30.0)
"""First pixel of the first slice, LPS."""

SERIES_UID = "1.2.826.0.1.3680043.8.498.1"


def stored(k: int, rows: int = ROWS, columns: int = COLUMNS) -> NDArray[np.int16]:
    """(rows, columns): 1000 + 100 k + 10 row + column, so that every voxel of a series differs."""
    row, column = np.mgrid[:rows, :columns]
    return (1000 + 100 * k + 10 * row + column).astype(np.int16)


def hu(count: int) -> NDArray[np.int16]:
    """(I, J, K) HU of an untouched series of ``count`` slices."""
    return np.stack([stored(k).T - 1024 for k in range(count)], axis=-1)


def write_slice(path: Path, pixels: NDArray[Any] | None, position: Sequence[float] | None, **elements: Any) -> Path:
    """One file; ``pixels`` (rows, columns) as stored, int16 or uint16, or None for an object without any."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
    data.PatientName, data.PatientID, data.StudyDate = "Secret^Name", "SECRET-ID", "19700101"
    data.Modality, data.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.SeriesInstanceUID, data.SeriesNumber = SERIES_UID, 4
    data.ImagePositionPatient = None if position is None else [float(f"{value:.6f}") for value in position]
    data.ImageOrientationPatient = [float(f"{value:.8f}") for value in elements.pop("ImageOrientationPatient", AXIAL)]
    data.PixelSpacing, data.SliceThickness = [DOWN_MM, ACROSS_MM], 3.0
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    if pixels is not None:
        data.Rows, data.Columns = pixels.shape[:2]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, int(pixels.dtype.kind == "i")
        data.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    for keyword, value in elements.items():
        setattr(data, keyword, value)
        if value is None:
            delattr(data, keyword)
    if position is None:
        del data.ImagePositionPatient
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    count: int = 4,
    *,
    step: Sequence[float] = (0.0, 0.0, 2.0),
    places: Sequence[float] | None = None,
    prefix: str = "",
    **elements: Any,
) -> list[Path]:
    """Slices at ORIGIN + place * step, place 0, 1, 2 ... unless given; in the order of k."""
    return [
        write_slice(
            folder / f"{prefix}{k:03d}.dcm", stored(k), np.add(ORIGIN, np.multiply(step, place)).tolist(), **elements
        )
        for k, place in enumerate(range(count) if places is None else places)
    ]


def write_localiser(path: Path, **elements: Any) -> Path:
    """A coronal overview, as scanners put it into the series it was planned for."""
    return write_slice(
        path,
        stored(9),
        (0.0, 0.0, 100.0),
        **{"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": CORONAL, **elements},
    )
