"""A small evaluation of phantoms for the tests of the page: known studies, known errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from medseg.evaluation.options import ScoringOptions
from medseg.evaluation.results import Evaluation, Failure
from medseg.evaluation.scores import StudyScores, score_arrays
from medseg.phantom.make import SMALL, make_phantom
from medseg.reports.page import ReportStudy, write_report
from medseg.types import Grid, Volume

CLASSES = ("liver", "tumour")
Loaded = tuple[Volume, Volume | None, Volume]


def block_study(*, shift: int = 0, label: int = 1) -> Loaded:
    """40 x 40 x 40 voxels of 5 mm, RAS: a bright cube of 16 voxels a side, segmented ``shift`` voxels towards R."""
    grid = Grid((40, 40, 40), np.diag([5.0, 5.0, 5.0, 1.0]))
    reference = np.zeros(grid.shape, np.uint8)
    reference[12:28, 12:28, 12:28] = label
    image = np.where(reference > 0, 100, -50).astype(np.int16)
    return Volume(image, grid), Volume(reference, grid), Volume(np.roll(reference, shift, axis=0), grid)


def phantom_study(index: int) -> Loaded:
    """A coarse phantom, its segmentation with ``index`` of every 8 voxels missed."""
    image, reference = make_phantom(3, index, SMALL)
    missed = np.indices(reference.voxels.shape).sum(axis=0) % 8 < index
    return image, reference, Volume(np.where(missed, np.uint8(0), reference.voxels), reference.grid)


def scored(study_id: str, loaded: Loaded, names: tuple[str, ...] = CLASSES) -> StudyScores:
    _, reference, segmentation = loaded
    assert reference is not None
    return score_arrays(
        study_id,
        reference.voxels,
        segmentation.voxels,
        names,
        reference.grid.affine,
        ScoringOptions(lesions=names[-1:]),
    )


def phantom_report(path: Path, count: int = 3) -> list[Path]:
    """``count`` phantoms, of which a higher number is worse, and one failure."""
    loaded = {f"phantom_{index}": phantom_study(index) for index in range(count)}
    evaluation = Evaluation(
        tuple(scored(study_id, volumes) for study_id, volumes in loaded.items()),
        (Failure("lost", "labels/lost.nii.gz: truncated"),),
    )
    return report(path, evaluation, loaded)


def report(path: Path, evaluation: Evaluation, loaded: dict[str, Loaded], **options: Any) -> list[Path]:
    studies = [ReportStudy(study_id, lambda volumes=volumes: volumes) for study_id, volumes in loaded.items()]  # type: ignore[misc]
    given = {"title": "Phantoms", "facts": {"network": "unet"}, "class_names": CLASSES, **options}
    return write_report(path, evaluation, studies, intensity_range_hu=(-100.0, 240.0), **given)


def embedded(path: Path) -> dict[str, Any]:
    """Element id -> JSON of a written page, as a browser finds them."""
    blocks = re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', path.read_text(), re.S)
    return {name: json.loads(text) for name, text in blocks}
