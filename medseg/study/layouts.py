"""Recognise how a folder of CT studies is laid out, so that nobody has to write a manifest by hand.

In this order:

    MSD          dataset.json with a "training" list of {"image": "./imagesTr/x.nii.gz", "label": "./labelsTr/x.nii.gz"}
    nnU-Net raw  dataset.json, imagesTr/<id>_0000.nii.gz, labelsTr/<id>.nii.gz, optionally imagesTs and labelsTs
    LiTS         volume-<n>.nii and segmentation-<n>.nii, test-volume-<n>.nii, in any subfolder
    folders      two folders with equal file names: images and labels, imagesTr and labelsTr (tests in imagesTs), or any
                 two of which exactly one has a label word in its name
    pairs        <id>_image and <id>_label, or <id>/image and <id>/label, in the folder or one level below

Words for images: image, img, ct, volume. Words for labels: label, seg, segmentation, mask (and their plurals). Folders
and pairs may be NRRD or MetaImage as well. Hidden files (macOS leaves ._x beside every x) are skipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from medseg.errors import ManifestError
from medseg.study.formats import is_volume_file, stem
from medseg.study.manifest import TEST
from medseg.types import Study

_NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
_LITS = re.compile(r"(test-volume|volume|segmentation)-(\d+)", re.IGNORECASE)
_IMAGE_WORD = re.compile(r"(?:(?P<id>.+)[_-])?(?:images?|img|ct|volumes?)", re.IGNORECASE)
_LABEL_WORD = re.compile(r"(?:(?P<id>.+)[_-])?(?:labels?|seg|segmentations?|masks?)", re.IGNORECASE)
_LABEL_FOLDER = re.compile(r"label|seg|mask", re.IGNORECASE)


class Found(NamedTuple):
    """What a folder turned out to hold.

    Attributes:
        description: for the user, e.g. ``"MSD: 131 training and 70 test studies"``.
        studies: in natural order (liver_2 before liver_10); fold "test" or "" (not assigned); each is its own subject.
        root: folder that the manifest's paths should be relative to.
        labels: foreground name -> value as dataset.json gives them; None where nothing names the values.
    """

    description: str
    studies: list[Study]
    root: Path
    labels: dict[str, int] | None


def find_studies(folder: Path) -> Found:
    """Recognise a folder's layout and list its studies.

    Raises:
        ManifestError: no such folder, nothing recognised (says what was looked for and what was found), files that
            dataset.json promises are missing, a label without an image, or two images for one study.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise ManifestError(f"{folder}: no such folder")
    dataset = _read_dataset(folder / "dataset.json")
    studies = _msd(folder, dataset) or _nnunet(folder, dataset) or _lits(folder)
    studies = studies or _folders(folder, dataset) or _pairs(folder, dataset)
    if studies:
        return studies
    inside = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    listed = ", ".join(inside[:8]) + (f" and {len(inside) - 8} more" if len(inside) > 8 else "")
    raise ManifestError(
        f"{folder}: expected MSD or nnU-Net (dataset.json with imagesTr and labelsTr), LiTS (volume-N.nii and "
        "segmentation-N.nii), two folders images and labels with equal file names, or <id>_image.nii.gz beside "
        f"<id>_label.nii.gz; found {listed or 'an empty folder'}"
    )


def _msd(folder: Path, dataset: dict[str, Any]) -> Found | None:
    training = dataset.get("training")
    if not isinstance(training, list) or not training or not all(isinstance(entry, dict) for entry in training):
        return None
    images, labels = _Files(), _Files()
    for entry in training:
        image = _promised(folder, entry.get("image"))
        if not image.exists() and _channel(image).exists():
            return None  # nnU-Net 1 wrote MSD's list, and named the images with _0000
        images.add(stem(image.name), image)
        labels.add(stem(image.name), _promised(folder, entry.get("label")))
    tests = _Files()
    for entry in dataset.get("test") or []:
        image = _promised(folder, entry.get("image") if isinstance(entry, dict) else entry)
        tests.add(stem(image.name), image)
    missing = [path for files in (images, labels, tests) for path in files.values() if not path.is_file()]
    if missing:
        names = ", ".join(path.relative_to(folder).as_posix() for path in missing[:5])
        raise ManifestError(f"{folder}/dataset.json: {len(missing)} of its files are missing: {names}")
    return _found("MSD", folder, _join(images, labels, tests, {}), _label_names(dataset))


def _nnunet(folder: Path, dataset: dict[str, Any]) -> Found | None:
    if not dataset or not any(stem(path.name).endswith("_0000") for path in _volumes(folder / "imagesTr")):
        return None
    images, tests = _first_channels(folder / "imagesTr"), _first_channels(folder / "imagesTs")
    labels, test_labels = _Files.of(folder / "labelsTr"), _Files.of(folder / "labelsTs")
    return _found("nnU-Net raw", folder, _join(images, labels, tests, test_labels), _label_names(dataset))


def _lits(folder: Path) -> Found | None:
    kinds = {"volume": _Files(), "segmentation": _Files(), "test-volume": _Files()}
    for path in sorted(folder.rglob("*.nii*")):
        match = _LITS.fullmatch(stem(path.name))
        if match and _is_nifti(path):
            kind, number = match[1].lower(), match[2]
            kinds[kind].add(f"{'volume' if kind == 'segmentation' else kind}-{number}", path)
    if not kinds["volume"] and not kinds["test-volume"]:
        return None
    return _found("LiTS", folder, _join(kinds["volume"], kinds["segmentation"], kinds["test-volume"], {}), None)


def _folders(folder: Path, dataset: dict[str, Any]) -> Found | None:
    names = [path.name for path in sorted(folder.iterdir()) if path.is_dir() and any(_volumes(path))]
    pair = next((pair for pair in (("imagesTr", "labelsTr"), ("images", "labels")) if set(pair) <= set(names)), None)
    if pair is None:
        pair = _folders_with_equal_names(folder, names)
    if pair is None:
        return None
    images, labels = _Files.of(folder / pair[0]), _Files.of(folder / pair[1])
    tests, test_labels = _Files.of(folder / "imagesTs"), _Files.of(folder / "labelsTs")
    if not set(labels) & set(images) and all(name.endswith("_0000") for name in images):  # nnU-Net without dataset.json
        images, tests = _first_channels(folder / pair[0]), _first_channels(folder / "imagesTs")
    studies = _join(images, labels, tests, test_labels)
    return _found(f"folders {pair[0]} and {pair[1]}", folder, studies, _label_names(dataset))


def _folders_with_equal_names(folder: Path, names: list[str]) -> tuple[str, str] | None:
    if len(names) != 2:
        return None
    stems = [{stem(path.name) for path in _volumes(folder / name)} for name in names]
    if stems[0] != stems[1]:
        return None
    if any(map(_IMAGE_WORD.fullmatch, stems[0])) and any(map(_LABEL_WORD.fullmatch, stems[0])):
        return None  # two studies, each a folder with its image and its label
    labels = [name for name in names if _LABEL_FOLDER.search(name)]
    if len(labels) == 1:
        return next(name for name in names if name not in labels), labels[0]
    raise ManifestError(
        f"{folder}: the folders {names[0]} and {names[1]} hold equal file names; name the one with label maps 'labels'"
    )


def _pairs(folder: Path, dataset: dict[str, Any]) -> Found | None:
    images, labels = _Files(), _Files()
    for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        for path in _volumes(place):
            for words, files in ((_IMAGE_WORD, images), (_LABEL_WORD, labels)):
                match = words.fullmatch(stem(path.name))
                if match:
                    files.add(match["id"] or place.name, path)
    if not images:
        return None
    return _found("image and label pairs", folder, _join(images, labels, {}, {}), _label_names(dataset))


class _Files(dict[str, Path]):
    """Study id -> file; a second file for one id is refused."""

    @classmethod
    def of(cls, folder: Path) -> _Files:
        files = cls()
        for path in _volumes(folder):
            files.add(stem(path.name), path)
        return files

    def add(self, study_id: str, path: Path) -> None:
        study_id = re.sub(r"[^A-Za-z0-9._-]+", "_", study_id).lstrip(".")
        if study_id in self:
            raise ManifestError(f"two files for study {study_id!r}: {self[study_id]} and {path}; move one of them away")
        self[study_id] = path


def _join(
    images: dict[str, Path], labels: dict[str, Path], tests: dict[str, Path], test_labels: dict[str, Path]
) -> list[Study]:
    studies = []
    for kind, fold, volumes, maps in (("training", "", images, labels), (TEST, TEST, tests, test_labels)):
        orphans = sorted(set(maps) - set(volumes))
        if orphans:
            where = ", ".join(str(maps[name]) for name in orphans[:5])
            raise ManifestError(f"{len(orphans)} {kind} labels have no image of the same name: {where}")
        studies += [Study(name, name, fold, path, maps.get(name)) for name, path in volumes.items()]
    twice = sorted(set(images) & set(tests))
    if twice:
        raise ManifestError(f"studies {', '.join(twice[:5])} are training and test studies at once; rename one of each")
    return sorted(studies, key=lambda study: (study.fold == TEST, _natural(study.study_id)))


def _found(layout: str, root: Path, studies: list[Study], labels: dict[str, int] | None) -> Found:
    tests = sum(study.fold == TEST for study in studies)
    bare = sum(study.label is None for study in studies if study.fold != TEST)
    text = f"{layout}: {len(studies) - tests} training and {tests} test studies"
    return Found(text + (f"; {bare} training studies have no label" if bare else ""), studies, root, labels)


def _read_dataset(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        dataset = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: expected JSON, could not read it ({error})") from error
    if not isinstance(dataset, dict):
        raise ManifestError(
            f"{path}: expected an object with the dataset's description, found a {type(dataset).__name__}"
        )
    return dataset


def _label_names(dataset: dict[str, Any]) -> dict[str, int] | None:
    """Foreground name -> value, from {"1": "liver"} (MSD, nnU-Net 1) or {"liver": 1} (nnU-Net 2); None for regions."""
    labels = dataset.get("labels")
    if not isinstance(labels, dict):
        return None
    named = {}
    for key, value in labels.items():
        name, number = (value, key) if isinstance(value, str) and str(key).isdigit() else (key, value)
        if isinstance(number, list) or not str(number).isdigit():
            return None  # nnU-Net's regions overlap; a label map cannot say that
        if int(number) != 0:
            named[str(name)] = int(number)
    return named or None


def _promised(folder: Path, name: object) -> Path:
    """A path of dataset.json; data does not get to name files outside its folder."""
    path = folder / str(name)
    if not isinstance(name, str) or not path.resolve().is_relative_to(folder):
        raise ManifestError(f"{folder}/dataset.json: expected files under its own folder, found {name!r}")
    return path


def _channel(image: Path) -> Path:
    """nnU-Net's name of an image's first channel: x.nii.gz -> x_0000.nii.gz."""
    name = stem(image.name)
    return image.with_name(f"{name}_0000{image.name[len(name) :]}")


def _first_channels(folder: Path) -> _Files:
    """Images by study, nnU-Net's channel number cut off; a second channel is refused."""
    files = _Files()
    for path in _volumes(folder):
        if not stem(path.name).endswith("_0000"):
            raise ManifestError(f"{path}: expected CT in one channel (a name that ends in _0000), found another name")
        files.add(stem(path.name).removesuffix("_0000"), path)
    return files


def _volumes(folder: Path) -> Iterable[Path]:
    """The NIfTI files of a folder; where it has none, its NRRD and MetaImage files."""
    shown = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
    files = sorted(path for path in shown if is_volume_file(path.name) and path.is_file())
    return [path for path in files if _is_nifti(path)] or files


def _is_nifti(path: Path) -> bool:
    return not path.name.startswith(".") and _NIFTI.search(path.name) is not None and path.is_file()


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that counts: liver_2 before liver_10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]
