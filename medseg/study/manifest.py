"""The manifest: a CSV of studies, its folds by subject, and the split that a pipeline trains on.

Columns: study_id, subject_id, fold, image, label and, optionally, label_map. Paths are relative to a root folder and
may not leave it. fold is "0", "1", ... for cross-validation, "test", or empty (not assigned yet). An empty subject_id
means that the study is its own subject.

An image is a file (NIfTI, NRRD, MetaImage) or the folder of a DICOM series. Of a folder that holds several series,
``folder#4`` is the one with the number 4; where two have it, their UIDs stand behind the #. A label is a file, or a
DICOM-SEG: its file, or a folder that holds just one, which may be the image's.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from medseg.errors import ManifestError
from medseg.files import atomic_path
from medseg.study.dicom.series import is_dicom_folder
from medseg.study.formats import is_volume_file
from medseg.types import Study
from medseg.words import did_you_mean

COLUMNS = ("study_id", "subject_id", "fold", "image", "label")
"""Columns that every manifest has."""

OPTIONAL_COLUMNS = ("label_map",)
"""Columns that it may have."""

STUDY_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
"""What a study_id looks like: it names files, in every system and shell."""

TEST = "test"
"""fold of the studies that neither train nor validate."""

_SERIES = re.compile(r"(?P<folder>.+)#(?P<series>[0-9][0-9.]*)")
"""A series of a DICOM folder, by its number or its UID."""

_MOST_LISTED = 50

_Row = tuple[int, dict[str, str]]


@dataclass(frozen=True)
class Splits:
    """Who trains, who validates, who is kept for the end."""

    train: tuple[Study, ...]
    validation: tuple[Study, ...]
    test: tuple[Study, ...]


def read_manifest(path: Path, root: Path, check_files: bool = True) -> list[Study]:
    """Read a manifest and refuse it, with every mistake at once, if it cannot be meant so.

    Args:
        path: the CSV (UTF-8, commas).
        root: folder that image and label are relative to.
        check_files: whether images and labels must exist (a folder must hold DICOM files).

    Returns:
        The studies in the file's order, with absolute paths.

    Raises:
        ManifestError: no such file, missing or unknown columns, no rows, or rows with: an empty, unfit or repeated
            study_id, a repeated image, a fold that is none, a subject in two folds, a path that is absolute, leaves the
            root (also through a symbolic link), or does not exist. Each with its line.
    """
    rows = _rows(path)
    base = Path(root).resolve()
    if check_files and not base.is_dir():
        raise ManifestError(f"{path}: expected its images under {root}, found no such folder; set data.root")
    mistakes: list[tuple[int, str]] = []
    studies = [_study(line, cells, base, check_files, mistakes) for line, cells in rows]
    lines = [line for line, _ in rows]
    ids = [cells["study_id"] for _, cells in rows]
    images = [cells["image"] for _, cells in rows]
    mistakes += _repeated("study_id", lines, ids, ids)
    mistakes += _repeated("image", lines, images, [os.path.realpath(base / image) for image in images])
    mistakes += _subjects_in_two_folds(lines, studies)
    if mistakes:
        _refuse(path, mistakes)
    return studies


def write_manifest(path: Path, studies: Sequence[Study], root: Path) -> None:
    """Write a manifest, atomically; ``read_manifest`` gives the same studies back.

    Raises:
        ManifestError: a study's files lie outside the root.
        OSError: the file cannot be written.
    """
    text = _text(studies, root)
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def digest(studies: Sequence[Study], root: Path) -> str:
    """SHA-256 of the manifest that ``write_manifest`` would write: the same on any machine that has the same studies.

    Raises:
        ManifestError: a study's files lie outside the root.
    """
    return hashlib.sha256(_text(studies, root).encode()).hexdigest()


def assign_folds(studies: Sequence[Study], num_folds: int = 5, seed: int = 12345) -> list[Study]:
    """Give the studies without a fold one, by subject.

    The sorted subject ids are shuffled and cut into ``num_folds`` parts, the first ``n % num_folds`` of them one
    larger. With the defaults and one study a subject these are the folds of nnU-Net's published cross-validation: the
    validation sets of scikit-learn's ``KFold(5, shuffle=True, random_state=12345)`` over the sorted case names
    (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z).

    Args:
        studies: those with a fold keep it; a study without one whose subject already has one joins it.
        num_folds: at least 2.
        seed: of the shuffle.

    Returns:
        The studies in the given order.

    Raises:
        ManifestError: fewer subjects than folds.
    """
    if num_folds < 2:
        raise ManifestError(f"expected at least 2 folds, found {num_folds}")
    folds = {study.subject_id: study.fold for study in studies if study.fold}
    subjects = sorted({study.subject_id for study in studies if study.subject_id not in folds})
    if subjects and len(subjects) < num_folds:
        raise ManifestError(
            f"expected at least {num_folds} subjects for {num_folds} folds, found {len(subjects)} without a fold; "
            "ask for fewer folds, or fill the manifest's fold column by hand"
        )
    order = np.arange(len(subjects))
    # The legacy generator: its stream is frozen by numpy, and it is the one that made the published folds.
    np.random.RandomState(seed).shuffle(order)
    for fold, part in enumerate(np.array_split(order, num_folds)):
        folds |= {subjects[i]: str(fold) for i in part}
    return [replace(study, fold=folds[study.subject_id]) for study in studies]


def split(studies: Sequence[Study], fold: int | Literal["all"]) -> Splits:
    """Choose the training, validation and test studies.

    Args:
        studies: as a manifest lists them.
        fold: the fold that validates, the others train; ``"all"`` trains on every study that is no test study, with a
            fold or without, and validates on none.

    Raises:
        ManifestError: studies without a fold, no such fold, nothing to train on, or a training or validation study
            without a label.
    """
    if fold != "all":
        _refuse_some([s for s in studies if not s.fold], "have no fold; fill the column, or set data.fold to all")
        folds = sorted({int(study.fold) for study in studies if study.fold != TEST})
        if fold not in folds:
            raise ManifestError(f"expected one of the folds {folds}, or all, found {fold}; set data.fold")
    splits = Splits(
        train=tuple(s for s in studies if s.fold not in (str(fold), TEST)),
        validation=tuple(s for s in studies if s.fold == str(fold)),
        test=tuple(s for s in studies if s.fold == TEST),
    )
    if not splits.train:
        raise ManifestError(f"no study is left to train on with data.fold {fold}; set it to all, or assign more folds")
    unlabelled = [s for s in (*splits.train, *splits.validation) if s.label is None]
    _refuse_some(unlabelled, "train or validate and have no label; give them one, or fold 'test'")
    return splits


def _rows(path: Path) -> list[_Row]:
    """The CSV's rows with the line each ends on, cells stripped, blank lines skipped."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a byte order mark
            reader = csv.reader(file, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            _check_columns(path, header)
            table = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such manifest; make one with `medseg manifest DIR`") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: expected a CSV in UTF-8, could not read it ({error})") from error
    if not table:
        raise ManifestError(f"{path}: expected a row for each study, found none")
    wrong = [
        (line, f"expected {len(header)} cells, found {len(row)}") for line, row in table if len(row) != len(header)
    ]
    if wrong:
        _refuse(path, wrong)
    return [(line, {"label_map": "", **dict(zip(header, row, strict=True))}) for line, row in table]


def _check_columns(path: Path, header: list[str]) -> None:
    known = (*COLUMNS, *OPTIONAL_COLUMNS)
    mistakes = [f"missing column {name}" for name in COLUMNS if name not in header]
    for name in header:
        if name not in known:
            mistakes.append(f"unknown column {name!r}{did_you_mean(name, known)}")
    mistakes += [f"column {name} twice" for name in known if header.count(name) > 1]
    if any(";" in name or "\t" in name for name in header):
        mistakes.append("cells must be separated by commas")
    if mistakes:
        _refuse(path, [(1, mistake) for mistake in mistakes])


def _study(line: int, cells: dict[str, str], base: Path, check_files: bool, mistakes: list[tuple[int, str]]) -> Study:
    """One row as a Study; what is wrong with it is added to ``mistakes``."""
    study_id, fold = cells["study_id"], cells["fold"]
    if not STUDY_ID.fullmatch(study_id):
        rule = "letters, digits, '.', '_' and '-', not starting with '.'"
        mistakes.append((line, f"study_id: expected {rule}, found {study_id!r}"))
    if fold.isascii() and fold.isdigit():
        fold = str(int(fold))
    elif fold not in ("", TEST):
        mistakes.append((line, f"fold: expected a whole number from 0, 'test' or nothing, found {fold!r}"))
    image, series = _image_and_series(cells["image"], base)
    problems = {"image": _path_problem(image, base, check_files)}
    if cells["label"]:
        problems["label"] = _path_problem(cells["label"], base, check_files)
    if series and check_files and not problems["image"] and not (base / image).is_dir():
        problems["image"] = f"{cells['image']!r} names the series {series} of a folder, and {image!r} is a file"
    mistakes += [(line, f"{column}: {problem}") for column, problem in problems.items() if problem]
    if image and image == cells["label"] and (is_volume_file(image) or (base / image).is_file()):
        mistakes.append((line, f"image and label are the same file, {image!r}"))
    return Study(
        study_id=study_id,
        subject_id=cells["subject_id"] or study_id,
        fold=fold,
        image=base / image,
        label=base / cells["label"] if cells["label"] else None,
        label_map=cells["label_map"],
        series=series,
    )


def _image_and_series(cell: str, base: Path) -> tuple[str, str]:
    """``ct#4`` as a folder and a series, unless that is the name of something that is there."""
    match = _SERIES.fullmatch(cell)
    if match and not os.path.lexists(base / cell):
        return match["folder"], match["series"]
    return cell, ""


def _path_problem(cell: str, base: Path, check_files: bool) -> str:
    if not cell:
        return "expected a path relative to the root, found nothing"
    if "\0" in cell or Path(cell).is_absolute():
        return f"expected a path relative to the root, found {cell!r}"
    # realpath, for resolve() raises RuntimeError where links run in a circle; reading the study says that it cannot
    if not Path(os.path.realpath(base / cell)).is_relative_to(base):
        return f"{cell!r} leaves the root {base}"
    if check_files and (base / cell).is_dir():
        return "" if is_dicom_folder(base / cell) else f"no DICOM file in the folder {cell!r} under {base}"
    if check_files and not (base / cell).is_file():
        return f"no such file {cell!r} under {base}"
    return ""


def _repeated(column: str, lines: list[int], cells: list[str], keys: list[str]) -> list[tuple[int, str]]:
    """Rows whose cell means, by its key, what an earlier row's cell meant."""
    first: dict[str, int] = {}
    mistakes = []
    for line, cell, key in zip(lines, cells, keys, strict=True):
        if cell and first.setdefault(key, line) != line:
            mistakes.append((line, f"{column}: {cell!r} stands in line {first[key]} already"))
    return mistakes


def _subjects_in_two_folds(lines: list[int], studies: list[Study]) -> list[tuple[int, str]]:
    first: dict[str, tuple[int, str]] = {}
    mistakes = []
    for line, study in zip(lines, studies, strict=True):
        if not study.fold:
            continue
        line_before, fold = first.setdefault(study.subject_id, (line, study.fold))
        if fold != study.fold:
            there = f"subject {study.subject_id!r} is in fold {fold} in line {line_before}"
            mistakes.append((line, f"{there} and in fold {study.fold} here; a subject belongs to one fold"))
    return mistakes


def _refuse(path: Path, mistakes: list[tuple[int, str]]) -> None:
    listed = [f"{path}:{line}: {text}" for line, text in sorted(mistakes)]
    if len(listed) > _MOST_LISTED:
        listed[_MOST_LISTED:] = [f"... and {len(listed) - _MOST_LISTED} more"]
    raise ManifestError("\n".join(listed))


def _refuse_some(studies: list[Study], why: str) -> None:
    if studies:
        names = ", ".join(study.study_id for study in studies[:5]) + (", ..." if len(studies) > 5 else "")
        raise ManifestError(f"{len(studies)} studies ({names}) {why}")


def _text(studies: Sequence[Study], root: Path) -> str:
    base = Path(root).resolve()
    columns = (*COLUMNS, *OPTIONAL_COLUMNS) if any(study.label_map for study in studies) else COLUMNS
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for study in studies:
        label = _relative(study.label, base) if study.label else ""
        image = _relative(study.image, base) + (f"#{study.series}" if study.series else "")
        row = (study.study_id, study.subject_id, study.fold, image, label, study.label_map)
        writer.writerow(row[: len(columns)])
    return out.getvalue()


def _relative(path: Path, base: Path) -> str:
    for candidate in (path, path.resolve()):
        if candidate.is_relative_to(base) and ".." not in candidate.parts:
            return candidate.relative_to(base).as_posix()
    raise ManifestError(f"{path}: expected a file under the root {base}")
