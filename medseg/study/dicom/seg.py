"""A segmentation as a DICOM-SEG object on the slices that its image was read from.

BINARY, one segment for each class that occurs (DICOM numbers them 1, 2, ... without gaps, so the class index is not the
segment's number; the label is the class's name). Patient and study modules are copied from the slices, as the standard
asks; what medseg adds names nobody. highdicom writes the object; the frames' places are those of the slices.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryError, StudyError
from medseg.files import atomic_path
from medseg.study.dicom.segment_codes import segment_codes
from medseg.study.dicom.segmentation import quiet_pydicom
from medseg.study.geometry import GRID_TOLERANCE_MM
from medseg.types import Volume
from medseg.version import __version__

_SERIES_NUMBER = 9000
"""Above the series that scanners make; viewers list it last."""

_PATIENT_AND_STUDY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
)
"""What a DICOM object must have but may leave empty; anonymised slices often lack some of it."""

_IDENTITY = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID")
"""What an object on the slices refers to them by."""

_RAS_FROM_LPS = np.array([-1.0, -1.0, 1.0])


def require_highdicom() -> None:
    """Ask for the optional libraries before a batch begins.

    Raises:
        StudyError: they are not installed; the message says how to.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise StudyError("DICOM-SEG needs highdicom, which is not installed; pip install 'medseg[dicom]'") from error


def no_dicom_seg_because(classes: NDArray[np.uint8], image: Volume) -> str:
    """Why ``write_dicom_seg`` cannot write this study, a sentence; "" if it can.

    There must be slices to refer to, they must be those of the image and say which study they belong to, and DICOM
    knows no segmentation without segments.

    Raises:
        StudyError: highdicom is not installed.
    """
    if image.source is None:
        return "no DICOM-SEG was written: the image was not read from DICOM"
    if image.source.straightened:
        return "no DICOM-SEG was written: the tilted slices were resampled, and the segmentation lies between them"
    if not classes.any():
        return "no DICOM-SEG was written: nothing was segmented, and DICOM-SEG cannot be empty"
    require_highdicom()
    from pydicom.errors import InvalidDicomError

    try:
        with quiet_pydicom():
            first = _read_slice(image.source.files[0])
    except (OSError, InvalidDicomError):
        return "no DICOM-SEG was written: the image's slices can no longer be read"
    missing = [keyword for keyword in _IDENTITY if not first.get(keyword)]
    if missing:
        return f"no DICOM-SEG was written: the slices have no {', '.join(missing)}, so nothing could refer to them"
    return ""


def write_dicom_seg(
    path: Path,
    classes: NDArray[np.uint8],
    class_names: tuple[str, ...],
    image: Volume,
    study_id: str,
    *,
    uid: str | None = None,
) -> None:
    """Write one DICOM-SEG object, atomically.

    Args:
        path: ends in .dcm; missing folders are made.
        classes: (I, J, K) class indices on the image's grid: I along the columns of a row, J down the rows, K a slice.
        class_names: foreground names in class order.
        image: read from DICOM; ``image.source`` names the slices in K order.
        study_id: names the study in messages.
        uid: SOP instance UID of the object; a new one by default. Equal UIDs must mean equal content.

    Raises:
        StudyError: highdicom is not installed; ``no_dicom_seg_because`` says why not; a slice cannot be read or lacks
            what the standard asks for; the file cannot be written.
        GeometryError: the slices do not lie where the image's grid says.
    """
    obstacle = no_dicom_seg_because(classes, image)
    if obstacle:
        raise StudyError(f"study {study_id}: {obstacle}")
    with quiet_pydicom():
        try:
            slices = _read_slices(image, study_id)
            _require_slices_on_grid(slices, image, study_id)
            segmentation = _segmentation(slices, classes, class_names, uid)
        except StudyError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StudyError(f"study {study_id}: no DICOM-SEG can be made of these slices ({error})") from error
        try:
            with atomic_path(path) as temporary:
                segmentation.save_as(temporary)
        except OSError as error:
            why = error.strerror or error
            raise StudyError(f"{path}: could not be written ({why}); nothing was changed") from error


def _read_slices(image: Volume, study_id: str) -> list[Any]:
    from pydicom.errors import InvalidDicomError

    assert image.source is not None
    if len(image.source.files) != image.grid.shape[2]:
        raise GeometryError(
            f"study {study_id}: expected a DICOM file for each of {image.grid.shape[2]} slices, "
            f"found {len(image.source.files)}"
        )
    try:
        return [_read_slice(file) for file in image.source.files]
    except (OSError, InvalidDicomError) as error:
        raise StudyError(f"study {study_id}: a slice of the image can no longer be read ({error})") from error


def _read_slice(file: Path) -> Any:
    """A slice without its pixels, mended where anonymising programs leave what highdicom does not take."""
    from pydicom import dcmread
    from pydicom.valuerep import DA, TM

    one = dcmread(file, stop_before_pixels=True)
    for keyword in _PATIENT_AND_STUDY:
        if keyword not in one:
            setattr(one, keyword, None)
    for keyword, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            kind(one.get(keyword))
        except ValueError:  # "1.1.1960": may be empty, may not be that
            setattr(one, keyword, None)
    for keyword in ("SOPClassUID", "SOPInstanceUID"):  # the file's meta header repeats them
        if not one.get(keyword):
            setattr(one, keyword, one.file_meta.get(f"MediaStorage{keyword}"))
    if not one.get("SpecificCharacterSet"):  # empty means the default, which highdicom knows only as absent
        one.pop("SpecificCharacterSet", None)
    return one


def _require_slices_on_grid(slices: list[Any], image: Volume, study_id: str) -> None:
    """Refuse an image whose array would land elsewhere on the slices: mirrored, turned, or out of order."""
    i, j, _ = image.grid.shape
    corners = np.array([(0, 0), (i - 1, 0), (0, j - 1)])  # (column, row)
    for k, one in enumerate(slices):
        if (one.Columns, one.Rows) != (i, j):
            raise GeometryError(
                f"study {study_id}: expected slices of {i} columns and {j} rows, found {one.Columns} and {one.Rows}"
            )
        cosines = np.array(one.ImageOrientationPatient, float).reshape(2, 3)
        row_mm, column_mm = map(float, one.PixelSpacing)
        lps = np.array(one.ImagePositionPatient, float) + corners * (column_mm, row_mm) @ cosines
        voxels = np.column_stack([corners, np.full(len(corners), k), np.ones(len(corners))])
        apart = np.linalg.norm(lps * _RAS_FROM_LPS - (voxels @ image.grid.affine.T)[:, :3], axis=1).max()
        if apart > GRID_TOLERANCE_MM:
            raise GeometryError(
                f"study {study_id}: slice {k} lies {apart:.2f} mm from where the image's grid has it "
                f"(tolerance {GRID_TOLERANCE_MM:g} mm); read the image from its DICOM folder again"
            )


def _segmentation(slices: list[Any], classes: NDArray[np.uint8], class_names: tuple[str, ...], uid: str | None) -> Any:
    import highdicom as hd

    present = np.zeros(256, bool)
    for k in range(classes.shape[2]):  # a slice at a time: indexing makes eight bytes of every one
        present[classes[:, :, k]] = True
    shown = np.flatnonzero(present[1:]) + 1
    number_of = np.zeros(256, np.uint8)
    number_of[shown] = np.arange(1, len(shown) + 1)
    return hd.seg.Segmentation(
        source_images=slices,
        pixel_array=number_of[classes.T],  # (K, J, I) are DICOM's frames, rows and columns
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(number, class_names[c - 1]) for number, c in enumerate(shown, start=1)],
        series_instance_uid=hd.UID(),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=uid or hd.UID(),
        instance_number=1,
        manufacturer="medseg",
        manufacturer_model_name="medseg",
        software_versions=__version__,
        device_serial_number="0",
        content_label="SEGMENTATION",
        content_description="Automatic segmentation",
        series_description="medseg segmentation",
    )


def _segment(number: int, name: str) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    category, kind = segment_codes(name)
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=getattr(codes.SCT, category),
        segmented_property_type=getattr(codes.SCT, kind),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="medseg", version=__version__, family=codes.DCM.ArtificialIntelligence
        ),
    )
