"""Many studies, one after another: a broken one is reported and never stops the others."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from medseg.errors import ManifestError, StudyError, reason
from medseg.inference.segmenter import Segmenter
from medseg.study.manifest import read_manifest

logger = logging.getLogger(__name__)

_NIFTI = re.compile(r"\.nii(\.gz)?$")


@dataclass(frozen=True)
class Outcome:
    """How one study ended.

    Attributes:
        study_id: names the segmentation.
        status: ok or failed.
        reason: why it failed, one line.
        segmentation: the file written, "" if none.
        seconds: reading to writing.
    """

    study_id: str
    status: Literal["ok", "failed"]
    reason: str
    segmentation: str
    seconds: float


def find_inputs(source: Path, root: Path | None = None, *, exclude: Path | None = None) -> list[tuple[str, Path]]:
    """Study ids and image paths of a NIfTI file, a folder of them (searched in depth) or a manifest CSV.

    A file's id is its name without .nii or .nii.gz; in sub-folders the folders are part of it, joined by ``__``.

    Args:
        source: the file, folder or manifest.
        root: folder that a manifest's paths are relative to; the manifest's own by default.
        exclude: folder whose files are no inputs, such as an output folder inside ``source``.

    Raises:
        ManifestError: nothing there, nothing of use in it, or two files with one id.
    """
    if source.suffix == ".csv":
        return [(s.study_id, s.image) for s in read_manifest(source, root or source.parent, check_files=False)]
    if source.is_file():
        return [(_NIFTI.sub("", source.name), source)]
    if not source.is_dir():
        raise ManifestError(f"{source}: expected a NIfTI file, a folder or a manifest CSV, and it does not exist")
    named = (p for p in source.rglob("*.nii*") if _NIFTI.search(p.name) and not p.name.startswith("."))
    apart = exclude and exclude.resolve() != source.resolve()  # images stay inputs where the output goes beside them
    outside = (p for p in named if not (exclude and apart and exclude.resolve() in p.resolve().parents))
    found = sorted(p for p in outside if not p.is_dir())  # a broken link stays: its study fails and says so
    if not found:
        raise ManifestError(f"{source}: expected .nii or .nii.gz files in this folder, found none")
    inputs: dict[str, Path] = {}
    for path in found:
        study_id = "__".join(_NIFTI.sub("", str(path.relative_to(source))).split("/"))
        if study_id in inputs:
            raise ManifestError(
                f"{source}: {inputs[study_id].name} and {path.name} would both become {study_id}.nii.gz"
            )
        inputs[study_id] = path
    return list(inputs.items())


def segment_studies(
    segmenter: Segmenter,
    inputs: Sequence[tuple[str, Path]],
    output: Path,
    *,
    on_done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Segment every input into ``output``/<study_id>.nii.gz and append one line a study to ``output``/segment.jsonl.

    Args:
        segmenter: a loaded model.
        inputs: (study id, image path) pairs.
        output: folder, made if absent.
        on_done: called after each study.

    Returns:
        One outcome a study, in order.
    """
    output.mkdir(parents=True, exist_ok=True)
    outcomes = []
    with (output / "segment.jsonl").open("a") as record:
        for study_id, image in inputs:
            outcome = _segment_one(segmenter, study_id, image, output / f"{study_id}.nii.gz")
            record.write(json.dumps(asdict(outcome)) + "\n")
            record.flush()
            outcomes.append(outcome)
            on_done(outcome)
    return outcomes


def _segment_one(segmenter: Segmenter, study_id: str, image: Path, place: Path) -> Outcome:
    started = time.monotonic()
    try:
        segmenter.segment_file(image, place)
    except (StudyError, OSError, MemoryError, RuntimeError) as error:
        # RuntimeError: torch's own out-of-memory and shape errors; the next study may well succeed
        why = reason(study_id, error)
        logger.error("%s: %s", study_id, why)
        return Outcome(study_id, "failed", why, "", time.monotonic() - started)
    return Outcome(study_id, "ok", "", str(place), time.monotonic() - started)
