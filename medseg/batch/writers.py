"""The output formats, a row each. To add one, write a function and its row.

The command line lists the table, so importing it imports nothing heavy; the functions do when they write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medseg.inference.request import Request
    from medseg.inference.result import Segmentation
    from medseg.types import Volume


@dataclass(frozen=True, eq=False)
class Segmented:
    """A study that was segmented: all that an output can be made of.

    Attributes:
        segmentation: on the image's grid; its notes say what could not be written, too.
        image: as it was read.
        study_id: names the files.
        lesions: classes whose lesions the document lists.
        model: name or hash for the document.
        files: names of all the files that are written.
    """

    segmentation: Segmentation
    image: Volume
    study_id: str
    lesions: tuple[str, ...] = ()
    model: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Writer:
    """One output format.

    Attributes:
        about: what it is, in a few words, for the help.
        suffix: what follows the study's id in the file's name; ``{part}`` stands for the part's name.
        write: writes one file: its path, the study, and the part's name.
        parts: of a study: names of classes with a file each; ("",) is one file for all, () none.
        asks: what the segmenter must be asked for: the request and the model's class names -> the request.
        require: called once before a batch, raises StudyError where a library is missing.
        left_out: a sentence why a study cannot have it, "" if it can.
        always: written of every study that has it, whether it was asked for by name or not.
    """

    about: str
    suffix: str
    write: Callable[[Path, Segmented, str], None]
    parts: Callable[[Segmented], Sequence[str]] = lambda study: ("",)
    asks: Callable[[Request, tuple[str, ...]], Request] = lambda request, class_names: request
    require: Callable[[], None] = lambda: None
    left_out: Callable[[Segmented], str] = lambda study: ""
    always: bool = False


def _write_label_map(path: Path, study: Segmented, part: str) -> None:
    from medseg.study.nifti import write_labels

    write_labels(path, study.segmentation.classes, study.image, names=study.segmentation.class_names)


def _write_mask(path: Path, study: Segmented, part: str) -> None:
    from medseg.study.nifti import write_labels

    mask = study.segmentation.classes == study.segmentation.class_names.index(part) + 1
    write_labels(path, mask.view("uint8"), study.image, names=(part,))


def _write_probability(path: Path, study: Segmented, part: str) -> None:
    from medseg.study.nifti import write_fractions

    write_fractions(path, study.segmentation.probabilities[part], study.image)


def _ask_for_probabilities(request: Request, class_names: tuple[str, ...]) -> Request:
    return request if request.probabilities else replace(request, probabilities=class_names)


def _write_uncertainty(path: Path, study: Segmented, part: str) -> None:
    from medseg.study.nifti import write_fractions

    assert study.segmentation.uncertainty is not None
    write_fractions(path, study.segmentation.uncertainty, study.image)


def _ask_for_uncertainty(request: Request, class_names: tuple[str, ...]) -> Request:
    return replace(request, uncertainty="entropy") if request.uncertainty == "none" else request


def _write_dicom_seg(path: Path, study: Segmented, part: str) -> None:
    from medseg.study.dicom.seg import write_dicom_seg

    segmentation = study.segmentation
    write_dicom_seg(path, segmentation.classes, segmentation.class_names, study.image, study.study_id)


def _no_dicom_seg_because(study: Segmented) -> str:
    from medseg.study.dicom.seg import no_dicom_seg_because

    return no_dicom_seg_because(study.segmentation.classes, study.image)


def _require_highdicom() -> None:
    from medseg.study.dicom.seg import require_highdicom

    require_highdicom()


def _write_document(path: Path, study: Segmented, part: str) -> None:
    from medseg.batch.measurements import measure

    document = measure(study.segmentation, study.image, study.study_id, lesions=study.lesions, model=study.model)
    document["files"] = [name for name in study.files if name != f"{study.study_id}.json"]
    path.write_text(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


WRITERS: dict[str, Writer] = {
    "label_map": Writer("always", ".nii.gz", _write_label_map, always=True),
    "masks": Writer(
        "0 and 1, for each class",
        "__{part}.nii.gz",
        _write_mask,
        parts=lambda study: study.segmentation.class_names,
    ),
    "probabilities": Writer(
        "of every class, if none is named",
        "__probability_{part}.nii.gz",
        _write_probability,
        parts=lambda study: tuple(study.segmentation.probabilities),
        asks=_ask_for_probabilities,
        always=True,
    ),
    "uncertainty": Writer(
        "entropy, if not asked otherwise",
        "__uncertainty.nii.gz",
        _write_uncertainty,
        parts=lambda study: () if study.segmentation.uncertainty is None else ("",),
        asks=_ask_for_uncertainty,
        always=True,
    ),
    "dicom_seg": Writer(
        "where the input is DICOM",
        ".dcm",
        _write_dicom_seg,
        require=_require_highdicom,
        left_out=_no_dicom_seg_because,
    ),
    "document": Writer("volumes, HU and lesions as JSON; by default", ".json", _write_document),
}
"""The label map, which says that a study is whole, comes first here and is the last that appears in a folder."""
