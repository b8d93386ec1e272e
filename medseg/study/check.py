"""Look at every study before training: can it be read, do its grids agree, are its labels named.

One broken study never stops the others; what is wrong with each becomes a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np

from medseg.errors import reason
from medseg.study.geometry import orientation, require_same_grid, same_voxels
from medseg.study.inputs import is_nifti, read_input
from medseg.study.load import read_label
from medseg.study.nifti import read_grid, read_image_counted
from medseg.types import IGNORE_INDEX, Grid, LabelMap, Shape3, Spacing, Study, Volume

Level = Literal["error", "warning"]
"""An error keeps a study from being used; a warning is for a person to look at."""

PLAUSIBLE_SPACING_MM = (0.1, 15.0)
"""Voxel spacings of CT; outside, a header was probably written without, or in other units."""


@dataclass(frozen=True)
class Finding:
    """Something about one study that its owner should know."""

    study_id: str
    level: Level
    message: str


@dataclass(frozen=True)
class StudyFacts:
    """One row of the table of studies.

    Attributes:
        study_id: as in the manifest.
        shape: voxels along I, J, K.
        spacing_mm: along I, J, K.
        orientation: where I, J, K point, e.g. ``"LPS"``.
        label_voxels: class name -> voxels (and ``"ignore"`` where there are any); empty without a readable label.
    """

    study_id: str
    shape: Shape3
    spacing_mm: Spacing
    orientation: str
    label_voxels: dict[str, int] = field(default_factory=dict)


class Inspected(NamedTuple):
    """What came out for one study; facts is None when not even the image's header could be read."""

    study: Study
    facts: StudyFacts | None
    findings: list[Finding]


def inspect_studies(
    studies: Iterable[Study], label_map_of: Callable[[Study], LabelMap], read_voxels: bool = True
) -> Iterator[Inspected]:
    """What is wrong with studies, and the facts for a table, one study at a time; nothing that one does stops the next.

    Args:
        studies: as a manifest lists them.
        label_map_of: the label map that holds for a study.
        read_voxels: whether to read images and labels whole (about a second a study), or only their headers.
    """
    for study in studies:
        yield _inspect(study, label_map_of, read_voxels)


def _inspect(study: Study, label_map_of: Callable[[Study], LabelMap], read_voxels: bool) -> Inspected:
    findings: list[Finding] = []
    facts = None
    with _kept(study, findings):
        grid = _image_grid(study)
        facts = StudyFacts(study.study_id, grid.shape, grid.spacing_mm, orientation(grid.affine))
        findings += [Finding(study.study_id, "warning", text) for text in _spacing_warnings(grid)]
        if read_voxels:
            with _kept(study, findings):  # a broken image does not hide what is wrong with the label
                findings += [Finding(study.study_id, "warning", text) for text in _image_warnings(study)]
        if study.label is not None:
            what, headers = f"study {study.study_id}: image and label", is_nifti(study.label)
            if headers and not same_voxels(grid, own := read_grid(study.label, study.study_id)):
                require_same_grid(grid, own, what)
            label_map = label_map_of(study)
            if read_voxels or not headers:
                label = read_label(study.label, label_map, study.study_id, grid)
                require_same_grid(grid, label.grid, what)
                facts = replace(facts, label_voxels=_label_voxels(label, label_map))
                findings += [Finding(study.study_id, "warning", text) for text in _label_warnings(facts)]
    return Inspected(study, facts, findings)


@contextmanager
def _kept(study: Study, findings: list[Finding]) -> Iterator[None]:
    """Keep an error as a finding and go on: whatever one study's files do, the others are still looked at."""
    try:
        yield
    except Exception as error:
        findings.append(Finding(study.study_id, "error", reason(study.study_id, error)))


def _spacing_warnings(grid: Grid) -> list[str]:
    low, high = PLAUSIBLE_SPACING_MM
    if all(low <= value <= high for value in grid.spacing_mm):
        return []
    found = " x ".join(f"{value:g}" for value in grid.spacing_mm)
    return [f"expected voxels of {low:g} to {high:g} mm, found {found} mm; look at the header's spacing and units"]


def _image_grid(study: Study) -> Grid:
    """From the header alone where that is enough: other formats are proven sound by reading them."""
    if is_nifti(study.image):
        return read_grid(study.image, study.study_id)
    return read_input(study.input).grid


def _image(study: Study) -> tuple[Volume, int]:
    if is_nifti(study.image):
        return read_image_counted(study.image, study.study_id)
    return read_input(study.input), 0  # it says itself what became air


def _image_warnings(study: Study) -> list[str]:
    volume, bad = _image(study)
    low, high = float(volume.voxels.min()), float(volume.voxels.max())
    warnings = []
    if bad:
        warnings.append(f"{bad} of {volume.voxels.size} voxels are NaN or infinite and count as air")
    if low == high:
        warnings.append(f"every voxel of the image is {low:g}")
    elif low >= 0:
        warnings.append(f"expected HU, with fat and air below 0, found {low:g} to {high:g}; was the rescale applied?")
    return warnings


def _label_voxels(label: Volume, label_map: LabelMap) -> dict[str, int]:
    counts = np.bincount(label.voxels.ravel(order="K"), minlength=IGNORE_INDEX + 1)
    voxels = {name: int(counts[index]) for index, name in enumerate(label_map.names, start=1)}
    return voxels | ({"ignore": int(counts[IGNORE_INDEX])} if counts[IGNORE_INDEX] else {})


def _label_warnings(facts: StudyFacts) -> list[str]:
    names = [name for name in facts.label_voxels if name != "ignore"]
    if any(facts.label_voxels[name] for name in names):
        return []
    return [f"the label is empty: no voxel of {', '.join(names)}"]
