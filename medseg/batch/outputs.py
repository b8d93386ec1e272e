"""What segmenting a study leaves behind: its label map, and what else is wanted, all of it or nothing.

Everything is written under temporary names first. Only when all is there is it renamed into place, the label map last:
where ``<study_id>.nii.gz`` stands, the study is whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from medseg.batch.measurements import require_classes
from medseg.batch.writers import WRITERS, Segmented, Writer
from medseg.errors import ConfigError, StudyError
from medseg.files import atomic_path
from medseg.inference.request import Request
from medseg.inference.result import Segmentation
from medseg.types import Volume
from medseg.words import did_you_mean, listed

_LONGEST_NAME = 60
"""Characters of a class's name in a file's name."""


def require_outputs(write: Sequence[str], lesions: Sequence[str], class_names: Sequence[str]) -> None:
    """Refuse, before a batch begins, what no study of it could give.

    Args:
        write: names of output formats.
        lesions: classes whose lesions the document lists.
        class_names: the model's.

    Raises:
        ConfigError: an unknown format, a class that the model does not have, or no document to list lesions in.
        StudyError: a library is not installed.
    """
    for name in write:
        if name not in WRITERS:
            raise ConfigError(f"write: expected {listed(list(WRITERS))}, found {name!r}{did_you_mean(name, WRITERS)}")
        WRITERS[name].require()
    require_classes(lesions, class_names)
    if lesions and "document" not in write:
        raise ConfigError("lesions: they are listed in each study's JSON, which is turned off; keep it, or list none")


def full_request(request: Request, write: Sequence[str], class_names: tuple[str, ...]) -> Request:
    """A request with all that the output formats need of the segmenter."""
    for name in write:
        request = WRITERS[name].asks(request, class_names)
    return request


def write_outputs(
    segmentation: Segmentation,
    image: Volume,
    folder: Path,
    study_id: str,
    write: Sequence[str] = (),
    *,
    lesions: Sequence[str] = (),
    model: str = "",
) -> Path:
    """Write a study's label map and what is wanted beside it; all of it or nothing.

    Probabilities and uncertainty are written where the segmentation has them. What a study cannot have, such as a
    DICOM-SEG of what was no DICOM, is left out, and the document's notes say why. Files of an earlier run that are not
    wanted now stay.

    Args:
        segmentation: on the image's grid.
        image: as it was read.
        folder: made if absent.
        study_id: names the files.
        write: names of output formats, see ``writers.WRITERS``.
        lesions: classes whose lesions the document lists.
        model: name or hash for the document.

    Returns:
        The label map's path.

    Raises:
        ConfigError: ``lesions`` names no class.
        GeometryError: segmentation and image, or image and DICOM slices, do not agree.
        StudyError: a file cannot be written; older files stay as they were.
    """
    study = Segmented(segmentation, image, study_id, tuple(lesions), model)
    wanted = [writer for name, writer in WRITERS.items() if writer.always or name in write]
    left_out = {writer: why for writer in wanted if (why := writer.left_out(study))}
    files = _files(study, [writer for writer in wanted if writer not in left_out])
    noted = replace(segmentation, notes=(*segmentation.notes, *left_out.values()))
    study = replace(study, segmentation=noted, files=tuple(files))
    try:
        with ExitStack() as places:
            # a stack closes in reverse: the label map, first in, is the last to be renamed
            temporary = {name: places.enter_context(atomic_path(folder / name)) for name in files}
            for name, (writer, part) in files.items():
                try:
                    writer.write(temporary[name], study, part)
                except StudyError as error:  # says where it wrote; the user knows the file by its last name
                    message = str(error).replace(str(temporary[name]), f"study {study_id}: {name}")
                    raise type(error)(message) from error
    except OSError as error:
        raise StudyError(
            f"study {study_id}: its files could not be written to {folder} ({error.strerror or error})"
        ) from error
    return folder / f"{study_id}.nii.gz"


def _files(study: Segmented, writers: Sequence[Writer]) -> dict[str, tuple[Writer, str]]:
    """File name -> what writes it, and which part."""
    names = study.segmentation.class_names
    safe = dict(zip(names, safe_names(names), strict=True))
    return {
        study.study_id + writer.suffix.format(part=safe.get(part, "")): (writer, part)
        for writer in writers
        for part in writer.parts(study)
    }


def safe_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Class names as parts of file names: ASCII letters, digits, ``.``, ``_`` and ``-``, all different.

    Accents fall away, other characters become ``_``. Where two come out the same (capitals do not count), where one
    would stand for an uncertainty or a probability, or where nothing is left, the class index is added.
    """
    names: list[str] = []
    for index, name in enumerate(class_names, start=1):
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        safe = re.sub(r"[^A-Za-z0-9._-]+", "_", plain)[:_LONGEST_NAME]
        taken = {"", "uncertainty", *(other.lower() for other in names)}
        if safe.lower() in taken or safe.lower().startswith("probability_"):
            safe = f"class_{index}_{safe}".rstrip("_")
        names.append(safe)
    return tuple(names)
