"""Score a folder of segmentations against a folder of references; needs no model and no manifest."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from medseg.config.schema import parse_labels
from medseg.errors import ConfigError, ManifestError, reason
from medseg.evaluation.results import Evaluation, Failure
from medseg.evaluation.scores import StudyScores, score_files
from medseg.types import LabelMap

log = logging.getLogger(__name__)

_DECORATION = re.compile(r"_(labels?|seg|segmentation|image|0000)$", re.IGNORECASE)
"""Endings that tell the image, the label and the segmentation of one study apart."""

Pair = tuple[str, Path, Path]
"""study_id, reference, segmentation."""


def evaluate_folders(
    reference_dir: Path, segmentation_dir: Path, labels: LabelMap, segmentation_labels: LabelMap | None = None
) -> Evaluation:
    """Score every segmentation of a folder against the reference of the same name.

    A study that breaks, and a reference without a segmentation, become failures; a segmentation without a reference is
    only warned about. ``pair_folders`` says which names match.

    Args:
        reference_dir: folder of label files.
        segmentation_dir: folder of label files.
        labels: how the reference's values become classes.
        segmentation_labels: the same classes from the segmentation's values; None if the values are the same.

    Raises:
        ManifestError: a folder without label files, no pair at all, or a name twice.
        ConfigError: the two label maps name different classes.
    """
    pairs, only_reference, only_segmentation = pair_folders(reference_dir, segmentation_dir)
    for path in only_segmentation:
        log.warning("%s: no reference of that name in %s; not scored", path.name, reference_dir)
    scores: list[StudyScores] = []
    failures = [Failure(_stem(path), f"no segmentation of that name in {segmentation_dir}") for path in only_reference]
    for study_id, reference, segmentation in pairs:
        try:
            scores.append(score_files(study_id, reference, segmentation, labels, segmentation_labels or labels))
        except ConfigError:
            raise  # wrong for every study alike
        except Exception as error:  # whatever is wrong with one study, the others are scored
            failures.append(Failure(study_id, reason(study_id, error)))
    for failure in failures:
        log.error("%s: not scored: %s", failure.study_id, failure.reason)
    return Evaluation(tuple(scores), tuple(failures))


def pair_folders(reference_dir: Path, segmentation_dir: Path) -> tuple[list[Pair], list[Path], list[Path]]:
    """Match the NIfTI files of two folders by name.

    Equal names (without .nii or .nii.gz) match first. What is left matches without an ending such as _label, _seg,
    _segmentation, _image or _0000, and LiTS's ``segmentation-7`` matches ``volume-7``. Subfolders, hidden files and
    other kinds of files are left alone.

    Args:
        reference_dir: folder of label files.
        segmentation_dir: folder of label files.

    Returns:
        The pairs sorted by study_id, the references without a segmentation, the segmentations without a reference.

    Raises:
        ManifestError: a folder without label files, no pair at all, or a name twice.
    """
    references = _by_name(_nifti_files(reference_dir), _stem)
    segmentations = _by_name(_nifti_files(segmentation_dir), _stem)
    pairs = _matches(references, segmentations)
    references = _by_name(references.values(), _bare_stem)
    segmentations = _by_name(segmentations.values(), _bare_stem)
    pairs += _matches(references, segmentations)
    if not pairs:
        raise ManifestError(
            f"expected files of the same name in {reference_dir} and {segmentation_dir}, found for example "
            f"{min(references.values()).name} and {min(segmentations.values()).name}"
        )
    return sorted(pairs), sorted(references.values()), sorted(segmentations.values())


def parse_label_argument(text: str) -> LabelMap:
    """Turn ``liver=1,tumour=2+3,ignore=5,background=rest`` into a LabelMap.

    The words mean what they mean in a pipeline's ``labels:``; ``+`` joins the values of one class.

    Raises:
        ConfigError: not of this form, or labels that contradict each other.
    """
    entries: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, values = (piece.strip() for piece in part.partition("="))
        if not (name and equals and values):
            raise ConfigError(
                f"labels: expected name=value pairs such as liver=1,tumour=2+3, found {part!r} in {text!r}"
            )
        if name in entries:
            raise ConfigError(f"labels: {name!r} is given twice in {text!r}; join its values with +, as in {name}=1+2")
        entries[name] = values if values == "rest" else [_whole_number(v, part) for v in values.split("+")]
    try:
        return parse_labels(entries)
    except ValueError as error:
        raise ConfigError(f"labels: {error} (in {text!r})") from error


def _whole_number(text: str, part: str) -> int:
    if not re.fullmatch(r"\s*-?[0-9]+\s*", text):
        raise ConfigError(f"labels: expected whole numbers joined by + after the =, found {part.strip()!r}")
    return int(text)


def _nifti_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ManifestError(f"{folder}: expected a folder of .nii or .nii.gz files, found {_kind(folder)}")
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    files = [path for path in files if path.name.lower().endswith((".nii", ".nii.gz"))]
    if not files:
        raise ManifestError(f"{folder}: expected .nii or .nii.gz files, found none (subfolders are not searched)")
    return files


def _kind(path: Path) -> str:
    return "a file" if path.exists() else "nothing"


def _stem(path: Path) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def _bare_stem(path: Path) -> str:
    stem = re.sub(r"^segmentation-", "volume-", _stem(path))
    return _DECORATION.sub("", stem) or stem


def _by_name(paths: Iterable[Path], name_of: Callable[[Path], str]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for path in sorted(paths):
        other = named.setdefault(name_of(path), path)
        if other != path:
            raise ManifestError(
                f"{path.parent}: expected one file a study, found {other.name} and {path.name} for {name_of(path)!r}"
            )
    return named


def _matches(references: dict[str, Path], segmentations: dict[str, Path]) -> list[Pair]:
    # Takes what it matches out of both, so that what is left has no partner.
    return [(n, references.pop(n), segmentations.pop(n)) for n in sorted(references.keys() & segmentations.keys())]
