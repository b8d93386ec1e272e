"""Which segmentation belongs to which reference: two folders, two manifests, or one of each.

Files carry the study ids that ``medseg segment`` gives them: sub-folders are part of the id, joined by ``__``, so what
was segmented from ``site_a/7.nii.gz`` into ``site_a__7.nii.gz`` finds its reference in ``site_a/7.nii.gz``.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from medseg.errors import ManifestError
from medseg.study.dicom.segmentation import is_segmentation
from medseg.study.formats import VOLUME_SUFFIXES, is_dicom_name, is_volume_file, stem
from medseg.study.inputs import find_inputs, study_id_of
from medseg.types import StudyInput

_FORMATS = f"{VOLUME_SUFFIXES} or DICOM-SEG"

_DECORATION = re.compile(r"__?(labels?|seg|segmentation|image|0000)$", re.IGNORECASE)
"""Endings that tell the image, the label and the segmentation of one study apart."""

_BESIDE = re.compile(r"uncertainty|probability_.+")
"""What ``medseg segment`` writes beside a label map, after the study id and ``__``."""

REFERENCE_COLUMNS = ("label", "reference")
SEGMENTATION_COLUMNS = ("segmentation", "label")
"""Columns of a manifest that name a side's files, the first that it has."""

Pair = tuple[str, Path, Path]
"""study_id, reference, segmentation."""

_File = TypeVar("_File", bound=Path | StudyInput)


@dataclass(frozen=True)
class Pairing:
    """What belongs together, and what has no partner.

    Attributes:
        pairs: sorted by study_id.
        only_reference: study_id -> file.
        only_segmentation: study_id -> file.
        broken: study_id -> why a manifest's row cannot be used.
    """

    pairs: list[Pair]
    only_reference: dict[str, Path] = field(default_factory=dict)
    only_segmentation: dict[str, Path] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


def pair_folders(
    reference: Path, segmentation: Path, *, root: Path | None = None, segmentation_root: Path | None = None
) -> Pairing:
    """Match the label files of two sides by study id.

    Equal ids match first. What is left matches without an ending such as _label, _seg, _segmentation, _image or _0000,
    and LiTS's ``segmentation-7`` matches ``volume-7``; then a DICOM-SEG that is alone in its folder by the folder's
    name. Hidden files, other kinds of files, and what ``medseg segment`` writes beside its label maps are left alone:
    a DICOM-SEG (.dcm) of the same name is.

    Args:
        reference: a folder of label files, sub-folders too, or a manifest: a CSV with the columns study_id and label.
            Rows without a label have no reference.
        segmentation: the same; a manifest's column is segmentation, or else label.
        root: folder that the reference manifest's paths are relative to; the manifest's own by default.
        segmentation_root: the same for the segmentations.

    Raises:
        ManifestError: a folder without label files, a manifest without these columns or with paths that leave the root,
            no pair at all, or an id twice.
    """
    references, broken = _side(reference, REFERENCE_COLUMNS, root, segmentation)
    segmentations, broken_too = _side(segmentation, SEGMENTATION_COLUMNS, segmentation_root, reference)
    broken = {**broken_too, **broken}
    references = {study_id: path for study_id, path in references.items() if study_id not in broken}
    segmentations = {study_id: path for study_id, path in segmentations.items() if study_id not in broken}
    return Pairing(*_paired(references, segmentations, (reference, segmentation), broken), broken)


def pair_images(reference: Path, images: Path, *, root: Path | None = None) -> dict[Path, StudyInput]:
    """The CT of each reference, by the same rules: file of the reference -> image.

    Args:
        reference: as in ``pair_folders``.
        images: whatever ``study.inputs.find_inputs`` finds CTs in; DICOM series among them.
        root: folder that the reference manifest's paths are relative to; the manifest's own by default.

    Raises:
        ManifestError: as ``pair_folders``.
    """
    references, broken = _side(reference, REFERENCE_COLUMNS, root, images)
    inputs = {study.study_id: study for study in find_inputs(images)}
    return {file: image for _, file, image in _paired(references, inputs, (reference, images), broken)[0]}


def _paired(
    references: dict[str, Path], others: dict[str, _File], sources: tuple[Path, Path], broken: Mapping[str, str]
) -> tuple[list[tuple[str, Path, _File]], dict[str, Path], dict[str, _File]]:
    """Pairs sorted by study id, and what is left of both sides."""
    alone = _alone([*references.values(), *others.values()])
    pairs = _matches(references, others)
    for ids in (_bare_ids, partial(_folder_ids, alone=alone)):
        references, others = _by_id(ids(references), sources[0]), _by_id(ids(others), sources[1])
        pairs += _matches(references, others)
    if not pairs:
        examples = [min(map(_name, side.values())) if side else "none" for side in (references, others)]
        raise ManifestError(
            f"expected files of the same name in {sources[0]} and {sources[1]}, found for example "
            f"{examples[0]} and {examples[1]}; or name them in a manifest with the columns study_id and label"
            + "".join(f"; {study_id}: {why}" for study_id, why in list(broken.items())[:1])
        )
    return sorted(pairs, key=lambda pair: pair[0]), references, others


def _side(
    source: Path, columns: tuple[str, ...], root: Path | None, other: Path
) -> tuple[dict[str, Path], dict[str, str]]:
    if source.suffix.lower() == ".csv":
        return _of_manifest(source, columns, root or source.parent)
    if not source.is_dir():
        kind = "a file" if source.exists() else "nothing"
        raise ManifestError(f"{source}: expected a folder of {_FORMATS} files or a manifest CSV, found {kind}")
    files = list(_files(source, other))
    if not files:
        raise ManifestError(f"{source}: expected {_FORMATS} files, found none")
    return _by_id(((_id_of(path.relative_to(source)), path) for path in files), source), {}


def _id_of(path: Path) -> str:
    return study_id_of(*path.parts[:-1], path.stem if is_dicom_name(path.name) else stem(path.name))


def _files(folder: Path, other: Path) -> Iterator[Path]:
    """Label files of a tree; one side may lie inside the other.

    A DICOM-SEG counts where no label of another format has its name: ``medseg segment`` writes both.
    """
    own, apart = os.path.realpath(folder), os.path.realpath(other)
    for name, folders, files in os.walk(folder):
        here = Path(name)
        folders[:] = sorted(
            f for f in folders if not f.startswith(".") and (os.path.realpath(here / f) != apart or own == apart)
        )
        shown = sorted(file for file in files if not file.startswith("."))
        labels = [here / file for file in shown if is_volume_file(file)]
        stems = {stem(path.name) for path in labels}
        yield from (path for path in labels if not _written_beside(path, stems))
        others = (here / file for file in shown if is_dicom_name(file) and Path(file).stem not in stems)
        yield from filter(is_segmentation, others)


def _written_beside(path: Path, stems: set[str]) -> bool:
    """Whether ``medseg segment`` wrote this file beside the label map of a study: masks, probabilities, uncertainty."""
    name = stem(path.name)
    for cut in re.finditer("__", name):
        study_id, rest = name[: cut.start()], name[cut.end() :]
        if study_id in stems and (_BESIDE.fullmatch(rest) or path.name in _listed(path.with_name(f"{study_id}.json"))):
            return True
    return False


def _listed(document: Path) -> list[str]:
    try:
        files = json.loads(document.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):  # not medseg's, or none
        return []
    return files[1:] if isinstance(files, list) else []  # the first is the label map


def _of_manifest(path: Path, columns: tuple[str, ...], root: Path) -> tuple[dict[str, Path], dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header, rows = reader.fieldnames or [], list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: expected a manifest CSV (UTF-8, commas), found {error}") from error
    column = next((name for name in columns if name in header), "")
    if "study_id" not in header or not column:
        raise ManifestError(
            f"{path}: expected the columns study_id and {' or '.join(columns)}, found {', '.join(header) or 'none'}"
        )
    cells = [{k: (v or "").strip() for k, v in row.items() if isinstance(v, str | None) and k} for row in rows]
    cells = [row for row in cells if row[column]]
    if not cells:
        raise ManifestError(f"{path}: expected rows with a {column}, found none")
    broken = {row["study_id"]: why for row in cells if (why := _problem(row, column, root))}
    return _by_id(((row["study_id"], root / row[column]) for row in cells), path), broken


def _problem(row: Mapping[str, str], column: str, root: Path) -> str:
    cell = row[column]
    if Path(cell).is_absolute() or not Path(os.path.realpath(root / cell)).is_relative_to(os.path.realpath(root)):
        return f"{column}: expected a path relative to {root} that stays below it, found {cell!r}"
    if column == "label" and row.get("label_map"):
        return (
            f"its label values mean what the pipeline's data.label_maps.{row['label_map']} says, and no pipeline is "
            "at hand; score it by itself with its own --labels"
        )
    return ""


def _by_id(files: Iterable[tuple[str, _File]], source: Path) -> dict[str, _File]:
    named: dict[str, _File] = {}
    for study_id, file in sorted(files, key=lambda pair: (pair[0], _name(pair[1]))):
        if named.setdefault(study_id, file) is not file:
            raise ManifestError(
                f"{source}: expected one file a study, found {_name(named[study_id])} and {_name(file)} "
                f"for {study_id!r}"
            )
    return named


def _bare_ids(files: Mapping[str, _File]) -> Iterator[tuple[str, _File]]:
    """The files under their ids without what tells the files of one study apart."""
    for study_id, file in files.items():
        bare = re.sub(r"^segmentation-", "volume-", study_id)
        yield _DECORATION.sub("", bare) or bare, file


def _folder_ids(files: Mapping[str, _File], alone: Collection[Path]) -> Iterator[tuple[str, _File]]:
    """The same, but a DICOM-SEG that is alone in its folder, under whatever name, goes by the folder's."""
    for study_id, file in files.items():
        yield (study_id.rpartition("__")[0] or study_id) if file in alone else study_id, file


def _alone(files: Iterable[Path | StudyInput]) -> set[Path]:
    """The DICOM-SEGs beside which there is no other label."""
    paths = {file for file in files if isinstance(file, Path)}
    count = Counter(path.parent for path in paths)
    return {path for path in paths if is_dicom_name(path.name) and count[path.parent] == 1}


def _name(file: Path | StudyInput) -> str:
    return file.name if isinstance(file, Path) else file.path.name


def _matches(references: dict[str, Path], others: dict[str, _File]) -> list[tuple[str, Path, _File]]:
    # Takes what it matches out of both, so that what is left has no partner.
    return [(n, references.pop(n), others.pop(n)) for n in sorted(references.keys() & others.keys())]
