"""Which segmentation belongs to which reference: two folders, two manifests, or one of each.

Files carry the study ids that ``medseg segment`` gives them: sub-folders are part of the id, joined by ``__``, so what
was segmented from ``site_a/7.nii.gz`` into ``site_a__7.nii.gz`` finds its reference in ``site_a/7.nii.gz``.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import ManifestError
from medseg.study.formats import VOLUME_SUFFIXES, is_volume_file, stem
from medseg.study.inputs import study_id_of

_DECORATION = re.compile(r"__?(labels?|seg|segmentation|image|0000)$", re.IGNORECASE)
"""Endings that tell the image, the label and the segmentation of one study apart."""

_BESIDE = re.compile(r"uncertainty|probability_.+")
"""What ``medseg segment`` writes beside a label map, after the study id and ``__``."""

REFERENCE_COLUMNS = ("label", "reference")
SEGMENTATION_COLUMNS = ("segmentation", "label")
"""Columns of a manifest that name a side's files, the first that it has."""

Pair = tuple[str, Path, Path]
"""study_id, reference, segmentation."""


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
    and LiTS's ``segmentation-7`` matches ``volume-7``. Hidden files, other kinds of files, and what ``medseg segment``
    writes beside its label maps are left alone.

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
    pairs = _matches(references, segmentations)
    left = _renamed(references, reference), _renamed(segmentations, segmentation)
    pairs += _matches(*left)
    if not pairs:
        examples = [min(side.values()).name if side else "none" for side in left]
        raise ManifestError(
            f"expected files of the same name in {reference} and {segmentation}, found for example "
            f"{examples[0]} and {examples[1]}; or name them in a manifest with the columns study_id and label"
            + "".join(f"; {study_id}: {why}" for study_id, why in list(broken.items())[:1])
        )
    return Pairing(sorted(pairs), *left, broken)


def _side(
    source: Path, columns: tuple[str, ...], root: Path | None, other: Path
) -> tuple[dict[str, Path], dict[str, str]]:
    if source.suffix.lower() == ".csv":
        return _of_manifest(source, columns, root or source.parent)
    if not source.is_dir():
        kind = "a file" if source.exists() else "nothing"
        raise ManifestError(f"{source}: expected a folder of {VOLUME_SUFFIXES} files or a manifest CSV, found {kind}")
    files = list(_files(source, other))
    if not files:
        raise ManifestError(f"{source}: expected {VOLUME_SUFFIXES} files, found none")
    return _by_id(
        ((study_id_of(*path.relative_to(source).parts[:-1], stem(path.name)), path) for path in files), source
    ), {}


def _files(folder: Path, other: Path) -> Iterator[Path]:
    """Label files of a tree; one side may lie inside the other."""
    own, apart = os.path.realpath(folder), os.path.realpath(other)
    for name, folders, files in os.walk(folder):
        here = Path(name)
        folders[:] = sorted(
            f for f in folders if not f.startswith(".") and (os.path.realpath(here / f) != apart or own == apart)
        )
        labels = [here / file for file in sorted(files) if is_volume_file(file) and not file.startswith(".")]
        stems = {stem(path.name) for path in labels}
        yield from (path for path in labels if not _written_beside(path, stems))


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


def _by_id(files: Iterable[tuple[str, Path]], source: Path) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for study_id, path in sorted(files):
        if named.setdefault(study_id, path) is not path:
            raise ManifestError(
                f"{source}: expected one file a study, found {named[study_id].name} and {path.name} for {study_id!r}"
            )
    return named


def _renamed(files: Mapping[str, Path], source: Path) -> dict[str, Path]:
    return _by_id(((_bare(study_id), path) for study_id, path in files.items()), source)


def _bare(study_id: str) -> str:
    study_id = re.sub(r"^segmentation-", "volume-", study_id)
    return _DECORATION.sub("", study_id) or study_id


def _matches(references: dict[str, Path], segmentations: dict[str, Path]) -> list[Pair]:
    # Takes what it matches out of both, so that what is left has no partner.
    return [(n, references.pop(n), segmentations.pop(n)) for n in sorted(references.keys() & segmentations.keys())]
