"""What there is to segment, wherever it lies and whatever its format, and one of it read.

NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd), DICOM series, and manifests that name them.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from medseg.errors import ManifestError, StudyError
from medseg.study.dicom.header import read_header
from medseg.study.dicom.read import read_series
from medseg.study.dicom.series import NO_UID, Scan, named, scan_files, why_no_ct
from medseg.study.formats import VOLUME_SUFFIXES, is_volume_file, stem
from medseg.study.itk_image import SUFFIXES, data_file, read_itk_image
from medseg.study.manifest import STUDY_ID, read_manifest
from medseg.study.nifti import read_image
from medseg.types import StudyInput, Volume

FORMATS = f"{VOLUME_SUFFIXES} or DICOM files"
"""What may be segmented, for messages."""

_UNFIT = re.compile(r"[^A-Za-z0-9._-]")
_MOST_LISTED = 5

logger = logging.getLogger(__name__)


def find_inputs(source: Path, root: Path | None = None, *, exclude: Path | None = None) -> list[StudyInput]:
    """The studies of a file, a DICOM folder, a tree of files and DICOM folders, or a manifest CSV.

    A file's id is its name without the suffix; a DICOM series' id is its folder's name, ending in ``__s<number>`` where
    the folder holds several. Sub-folders are part of the id, joined by ``__``; what an id may not hold becomes ``_``.
    DICOM objects that are no CT slices (SEG, SR, localisers ...) are left out, and logged. Hidden files and folders are
    not looked at.

    Args:
        source: the file, folder or manifest; a DICOM file stands for its series.
        root: folder that a manifest's paths are relative to; the manifest's own by default.
        exclude: folder whose files are no inputs, such as an output folder inside ``source``.

    Returns:
        In the order of a manifest, else of the ids. Only headers of DICOM files are read; files that turn out to be
        broken are inputs all the same, and fail when they are read.

    Raises:
        ManifestError: nothing there, nothing of use in it, or two inputs with one id.
    """
    if source.suffix == ".csv":
        studies = read_manifest(source, root or source.parent, check_files=False)
        return [study.input for study in studies]
    if source.is_file():
        return _of_file(source)
    if not source.is_dir():
        raise ManifestError(f"{source}: expected {FORMATS}, a folder or a manifest CSV, and it does not exist")
    left_out: list[str] = []
    inputs = [
        study for folder, names in _folders(source, exclude) for study in _of_folder(folder, names, source, left_out)
    ]
    if not inputs:
        besides = f" but {'; '.join(left_out[:_MOST_LISTED])}" if left_out else ""
        raise ManifestError(f"{source}: expected {FORMATS} in this folder, found none{besides}")
    _require_own_ids(inputs, source)
    return sorted(inputs, key=lambda study: study.study_id)


def read_input(study: StudyInput) -> Volume:
    """One CT in HU, from a file of any format or a series of DICOM files.

    Returns:
        voxels int16 or float32, (I, J, K) as the file or the series has them; a header for NIfTI only, ``source`` for
        DICOM only.

    Raises:
        StudyError: missing, damaged, or no CT; GeometryError where its slices make no volume. Names the study.
    """
    path = study.path
    if path.is_dir():
        return read_series(path, study.series_uid, study.study_id)
    if path.name.lower().endswith(SUFFIXES):
        return read_itk_image(path, study.study_id)
    if not is_volume_file(path.name) and (uid := _series_of(path, study.study_id)):
        return read_series(path.parent, uid, study.study_id)
    return read_image(path, study.study_id or None)


def is_nifti(path: Path) -> bool:
    """Whether ``read_input`` reads a path as NIfTI: what is neither of another format nor a DICOM folder or file."""
    other = path.is_dir() or path.name.lower().endswith(SUFFIXES)
    return not other and (is_volume_file(path.name) or not _series_of(path, ""))


def study_id_of(*parts: str) -> str:
    """The study id that ``find_inputs`` gives to a file: its sub-folders and its name without the suffix, joined."""
    text = _UNFIT.sub("_", "__".join(parts))
    return text if STUDY_ID.fullmatch(text) else f"_{text}"


def _of_file(path: Path) -> list[StudyInput]:
    if is_volume_file(path.name):
        return [StudyInput(study_id_of(stem(path.name)), path)]
    uid = _series_of(path, "")
    if not uid:
        return [StudyInput(study_id_of(stem(path.name)), path)]  # an unknown format: its study fails and says so
    left_out: list[str] = []
    for study in _of_series(path.parent, scan_files(path.parent.iterdir()), path.parent, left_out):
        if study.series_uid in (uid, ""):
            return [study]
    raise ManifestError(f"{path}: expected a CT slice, found none: {'; '.join(left_out[:_MOST_LISTED])}")


def _folders(source: Path, exclude: Path | None) -> Iterator[tuple[Path, list[str]]]:
    """Every folder with its file names; links to folders are not followed, so no loop can catch us."""
    own = os.path.realpath(source)  # resolve() raises where links run in a circle
    apart = os.path.realpath(exclude) if exclude and os.path.realpath(exclude) != own else None
    for name, folders, files in os.walk(source):
        folder = Path(name)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and os.path.realpath(folder / f) != apart)
        yield folder, sorted(f for f in files if not f.startswith("."))


def _of_folder(folder: Path, names: list[str], top: Path, left_out: list[str]) -> list[StudyInput]:
    images = [folder / name for name in names if is_volume_file(name)]
    voxels = {data for path in images if (data := _data_file(path))}
    studies = [
        StudyInput(study_id_of(*folder.relative_to(top).parts, stem(p.name)), p) for p in images if p not in voxels
    ]
    others = [folder / name for name in names if not is_volume_file(name)]
    return studies + _of_series(folder, scan_files(p for p in others if p not in voxels), top, left_out)


def _of_series(folder: Path, scan: Scan, top: Path, left_out: list[str]) -> list[StudyInput]:
    """The series of one folder that may be segmented; the others are logged and added to ``left_out``."""
    base = study_id_of(*(folder.relative_to(top).parts or (os.path.basename(os.path.realpath(folder)),)))
    usable = {}
    for uid, headers in scan.series.items():
        if why := why_no_ct(headers):
            left_out.append(f"{base}: {named(headers)}: {why}")
            logger.info("%s left out", left_out[-1])
        else:
            usable[uid] = headers
    if scan.broken:
        names = ", ".join(path.name for path in list(scan.broken)[:_MOST_LISTED])
        logger.warning("%s: %d broken DICOM files (%s ...)", base, len(scan.broken), names)
        if not usable:
            return [StudyInput(base, folder)]  # so that the folder's study fails and says so
    if len(usable) == 1:
        return [StudyInput(base, folder, uid) for uid in usable]
    numbers = {uid: headers[0].series_number or "0" for uid, headers in usable.items()}
    seen: Counter[str] = Counter()
    studies = []
    for uid, number in sorted(numbers.items(), key=lambda pair: (pair[1], pair[0])):
        seen[number] += 1
        again = f"_{seen[number]}" if seen[number] > 1 else ""
        studies.append(StudyInput(study_id_of(f"{base}__s{number}{again}"), folder, uid))
    return studies


def _series_of(path: Path, study_id: str) -> str:
    """The series that a DICOM file belongs to; "" where it is no DICOM."""
    try:
        header = read_header(path) if path.is_file() else None
    except OSError:
        return ""  # whoever reads it will say so
    except StudyError as error:
        raise StudyError(f"{f'study {study_id} ({path})' if study_id else path}: {error}") from error
    return (header.series_uid or NO_UID) if header else ""


def _data_file(path: Path) -> Path | None:
    """The voxels' file of a detached header; None where it has none, or cannot be read, which its study will say."""
    try:
        return data_file(path) if path.suffix.lower() in SUFFIXES else None
    except OSError:
        return None


def _require_own_ids(studies: list[StudyInput], source: Path) -> None:
    first: dict[str, StudyInput] = {}
    for study in studies:
        other = first.setdefault(study.study_id, study)
        if other is not study:
            raise ManifestError(
                f"{source}: {other.path.name} and {study.path.name} would both become {study.study_id}.nii.gz"
            )
