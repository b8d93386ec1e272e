"""Preprocessed studies as memory maps on disk: image.npy (float16), label.npy (uint8), voxels.npy, study.json.

A folder a study, named by a hash of everything that made it, is written beside its place and renamed into it: two
runs may share a cache, a killed one leaves nothing half-written, and a changed setting or file never meets old voxels.
Reading a patch touches only that patch's pages.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import StudyError, reason
from medseg.files import remove_remains, temporary_path
from medseg.study.load import files_of, load_study
from medseg.transforms.preprocessing import preprocess, preprocess_label
from medseg.transforms.settings import Preprocessing
from medseg.types import LabelMap, Spacing, Study

_FORMAT = 2
"""Raised whenever the same inputs would give other voxels."""

_VOXELS_PER_CLASS = 20_000
"""Positions remembered for each class to centre patches on; evenly spread over the class."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CachedStudy:
    """One preprocessed training study.

    Attributes:
        study_id: as in the manifest.
        folder: where its arrays lie.
        shape: voxels of the network grid.
        spacing_mm: of the network grid.
        class_voxels: voxels of every class index present (on the network grid).
    """

    study_id: str
    folder: Path
    shape: tuple[int, int, int]
    spacing_mm: Spacing
    class_voxels: dict[int, int]

    @cached_property
    def image(self) -> NDArray[np.float16]:
        """(I, J, K) in [0, 1], a memory map."""
        return np.load(self.folder / "image.npy", mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]

    @cached_property
    def label(self) -> NDArray[np.uint8]:
        """(I, J, K) class indices, a memory map."""
        return np.load(self.folder / "label.npy", mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]

    @cached_property
    def voxels(self) -> dict[int, NDArray[np.int64]]:
        """Class index -> flat positions of some of its voxels."""
        pairs = np.load(self.folder / "voxels.npy", allow_pickle=False)
        return {int(c): pairs[1, pairs[0] == c] for c in np.unique(pairs[0])}

    def __getstate__(self) -> dict[str, Any]:
        """Workers open the memory maps themselves."""
        return {k: v for k, v in self.__dict__.items() if k not in ("image", "label", "voxels")}


def cache_studies(
    studies: Sequence[Study],
    *,
    folder: Path,
    preprocessing: Preprocessing,
    label_map_of: Callable[[Study], LabelMap],
    threads: int = 2,
    on_done: Callable[[str], None] = lambda study_id: None,
) -> tuple[list[CachedStudy], dict[str, str]]:
    """Preprocess what the cache does not hold yet.

    Args:
        studies: with labels.
        folder: the cache.
        preprocessing: the chain's settings.
        label_map_of: the label map of each study.
        threads: studies prepared at once.
        on_done: called with each study's id, for a progress bar.

    Returns:
        The usable studies in the given order, and the others' ids with the reason: one broken study stops nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_remains(folder)

    def prepare(study: Study) -> CachedStudy | str:
        try:
            return _cached(study, folder, preprocessing, label_map_of(study))
        except (StudyError, OSError) as error:
            return reason(study.study_id, error)
        finally:
            on_done(study.study_id)

    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(prepare, studies))
    usable = [r for r in results if isinstance(r, CachedStudy)]
    broken = {s.study_id: r for s, r in zip(studies, results, strict=True) if isinstance(r, str)}
    return usable, broken


def _cached(study: Study, cache: Path, preprocessing: Preprocessing, label_map: LabelMap) -> CachedStudy:
    place = cache / f"{study.study_id}-{_key(study, preprocessing, label_map)}"
    if not (place / "study.json").is_file():
        _write(study, place, preprocessing, label_map)
    facts = json.loads((place / "study.json").read_text())
    return CachedStudy(
        study_id=study.study_id,
        folder=place,
        shape=tuple(facts["shape"]),
        spacing_mm=tuple(facts["spacing_mm"]),
        class_voxels={int(c): n for c, n in facts["class_voxels"].items()},
    )


def _key(study: Study, preprocessing: Preprocessing, label_map: LabelMap) -> str:
    files = []
    for path in (study.image, study.label):
        if path is not None:
            for file in files_of(path):
                stat = file.stat()
                files.append([str(file.resolve()), stat.st_size, stat.st_mtime_ns])
    files += [[study.series]] if study.series else []
    made_of = [_FORMAT, files, asdict(preprocessing), asdict(label_map)]
    # the keys are not sorted: the order of the classes is what numbers them
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]


def _write(study: Study, place: Path, preprocessing: Preprocessing, label_map: LabelMap) -> None:
    if study.label is None:
        raise StudyError(f"{study.study_id}: training needs a label, and the manifest gives none")
    loaded = load_study(study, lambda _: label_map)
    assert loaded.label is not None
    ready = preprocess(loaded.image, preprocessing)
    classes = preprocess_label(loaded.label, ready, preprocessing).numpy()
    values, counts = np.unique(classes, return_counts=True)
    if not set(values.tolist()) - {0}:
        logger.warning("%s: the label is empty on the network grid; it trains as background only", study.study_id)
    facts = {
        "study_id": study.study_id,
        "shape": classes.shape,
        "spacing_mm": ready.grid.spacing_mm,
        "class_voxels": {int(c): int(n) for c, n in zip(values, counts, strict=True)},
        "preprocessing": asdict(preprocessing),
    }
    beside = temporary_path(place)
    beside.mkdir()
    try:
        np.save(beside / "image.npy", ready.image.numpy().astype(np.float16))
        np.save(beside / "label.npy", classes)
        np.save(beside / "voxels.npy", _positions(classes, values.tolist()))
        (beside / "study.json").write_text(json.dumps(facts))
        _settle(beside, place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _settle(beside: Path, place: Path) -> None:
    try:
        os.replace(beside, place)
    except OSError:
        # another run may have been faster: its voxels are the same. Without a study.json it is somebody's remains
        if not (place / "study.json").is_file():
            shutil.rmtree(place, ignore_errors=True)
            os.replace(beside, place)


def _positions(classes: NDArray[np.uint8], values: Sequence[int]) -> NDArray[np.int64]:
    flat = classes.ravel()
    pairs = []
    for value in values:
        where = np.flatnonzero(flat == value)
        where = where[:: max(1, len(where) // _VOXELS_PER_CLASS)]
        pairs.append(np.stack([np.full(len(where), value), where]))
    return np.concatenate(pairs, axis=1).astype(np.int64)
