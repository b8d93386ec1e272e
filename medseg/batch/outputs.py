"""What segmenting a study leaves behind: its label map, and what else is wanted, all of it or nothing.

Everything is written under temporary names first. Only when all is there is it renamed into place, the label map last:
where ``<study_id>.nii.gz`` stands, the study is whole.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medseg.batch.measurements import measure, require_classes
from medseg.errors import ConfigError, StudyError
from medseg.files import atomic_path
from medseg.inference.result import Segmentation
from medseg.study.dicom.seg import no_dicom_seg_because, require_highdicom, write_dicom_seg
from medseg.study.nifti import write_fractions, write_labels
from medseg.types import Volume

_LONGEST_NAME = 60
"""Characters of a class's name in a file's name."""


@dataclass(frozen=True)
class Outputs:
    """What is written beside each label map.

    Attributes:
        document: ``<study_id>.json``, see ``measurements.measure``.
        masks: ``<study_id>__<class>.nii.gz``, 0 and 1, one for each class, absent ones too.
        dicom_seg: ``<study_id>.dcm``, for studies that were read from DICOM.
        lesions: classes whose lesions the document lists.
    """

    document: bool = True
    masks: bool = False
    dicom_seg: bool = False
    lesions: tuple[str, ...] = ()

    def require(self, class_names: Sequence[str]) -> None:
        """Refuse, before a batch begins, what no study of it could give.

        Raises:
            ConfigError: ``lesions`` names no class of the model, or there is no document to list them in.
            StudyError: a DICOM-SEG is wanted and highdicom is not installed.
        """
        require_classes(self.lesions, class_names)
        if self.lesions and not self.document:
            raise ConfigError(
                "lesions: they are listed in each study's JSON, which is turned off; keep it, or list none"
            )
        if self.dicom_seg:
            require_highdicom()


def write_outputs(
    segmentation: Segmentation,
    image: Volume,
    folder: Path,
    study_id: str,
    wanted: Outputs = Outputs(),
    *,
    model: str = "",
) -> Path:
    """Write a study's label map and what is wanted beside it; all of it or nothing.

    Probabilities (``<study_id>__probability_<class>.nii.gz``) and uncertainty (``<study_id>__uncertainty.nii.gz``) are
    written where the segmentation has them. A DICOM-SEG that cannot be (no DICOM, straightened slices, nothing found)
    is left out, and the document's notes say why. Files of an earlier run that are not wanted now stay.

    Args:
        segmentation: on the image's grid.
        image: as it was read.
        folder: made if absent.
        study_id: names the files.
        wanted: what to write.
        model: name or hash for the document.

    Returns:
        The label map's path.

    Raises:
        ConfigError: ``wanted.lesions`` names no class.
        GeometryError: segmentation and image, or image and DICOM slices, do not agree.
        StudyError: a file cannot be written; older files stay as they were.
    """
    writers, notes = _writers(segmentation, image, study_id, wanted)
    noted = replace(segmentation, notes=(*segmentation.notes, *notes))
    if wanted.document:
        document = measure(noted, image, study_id, lesions=wanted.lesions, model=model)
        document["files"] = [name for name in writers if name != f"{study_id}.json"]
        writers[f"{study_id}.json"] = partial(_write_document, document)
    try:
        with ExitStack() as places:
            # a stack closes in reverse: the label map, first in, is the last to be renamed
            temporary = {name: places.enter_context(atomic_path(folder / name)) for name in writers}
            for name, write in writers.items():
                try:
                    write(temporary[name])
                except StudyError as error:  # says where it wrote; the user knows the file by its last name
                    message = str(error).replace(str(temporary[name]), f"study {study_id}: {name}")
                    raise type(error)(message) from error
    except OSError as error:
        raise StudyError(
            f"study {study_id}: its files could not be written to {folder} ({error.strerror or error})"
        ) from error
    return folder / f"{study_id}.nii.gz"


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


def _writers(
    segmentation: Segmentation, image: Volume, study_id: str, wanted: Outputs
) -> tuple[dict[str, Callable[[Path], None]], list[str]]:
    """File name -> what writes it, the label map first; and a sentence for each thing that cannot be written."""
    names, classes = segmentation.class_names, segmentation.classes
    safe = dict(zip(names, safe_names(names), strict=True))
    writers: dict[str, Callable[[Path], None]] = {
        f"{study_id}.nii.gz": partial(write_labels, classes=classes, like=image, names=names)
    }
    for index, name in enumerate(names if wanted.masks else (), start=1):
        writers[f"{study_id}__{safe[name]}.nii.gz"] = partial(_write_mask, segmentation, index, image)
    fractions = {f"probability_{safe[name]}": array for name, array in segmentation.probabilities.items()}
    if segmentation.uncertainty is not None:
        fractions["uncertainty"] = segmentation.uncertainty
    for name, array in fractions.items():
        writers[f"{study_id}__{name}.nii.gz"] = partial(write_fractions, fractions=array, like=image)
    note = no_dicom_seg_because(classes, image) if wanted.dicom_seg else ""
    if wanted.dicom_seg and not note:
        writers[f"{study_id}.dcm"] = partial(
            write_dicom_seg, classes=classes, class_names=names, image=image, study_id=study_id
        )
    return writers, [note] if note else []


def _write_mask(segmentation: Segmentation, index: int, image: Volume, path: Path) -> None:
    mask = segmentation.classes == index
    write_labels(path, mask.view(np.uint8), image, names=segmentation.class_names[index - 1 : index])


def _write_document(document: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
