"""One door to a labelled study, whatever its formats: the image in HU, the label as class indices, on one grid.

An image is NIfTI, NRRD, MetaImage or a DICOM series (``inputs``); a label is NIfTI, NRRD, MetaImage or a DICOM-SEG: its
file, or a folder that holds just one. Training, checks, validation, tuning, scores and reports all read here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.errors import GeometryError
from medseg.study.dicom.label import read_seg_label, seg_grid
from medseg.study.formats import is_dicom_name, is_volume_file
from medseg.study.geometry import reorient, reorient_like, require_same_grid, same_grid, same_voxels
from medseg.study.inputs import is_nifti, read_input
from medseg.study.itk_image import SUFFIXES, data_file, read_itk_image
from medseg.study.labels import apply_label_map
from medseg.study.nifti import read_labels
from medseg.types import Grid, LabelMap, Study, Volume


@dataclass(frozen=True, eq=False)
class LoadedStudy:
    """A study in memory.

    Attributes:
        image: in HU.
        label: class indices on the image's grid; None where the study has none.
    """

    image: Volume
    label: Volume | None


def load_study(study: Study, label_map_of: Callable[[Study], LabelMap]) -> LoadedStudy:
    """Read a study's image and its label, if it has one.

    Args:
        study: as a manifest lists it.
        label_map_of: the label map that holds for a study; not asked for one without a label.

    Raises:
        StudyError: a file is missing, damaged or no CT or label; GeometryError: image and label do not share a grid;
        LabelError: values that the label map does not name.
    """
    image = read_input(study.input)
    if study.label is None:
        return LoadedStudy(image, None)
    if image.source is not None and image.source.straightened and is_dicom_label(study.label):
        raise GeometryError(
            f"{study.study_id}: the slices of a tilted gantry were set straight, and the DICOM-SEG lies on them as "
            "they were; convert both to one straight grid (NIfTI, NRRD) with the program that drew it"
        )
    label = read_label(study.label, label_map_of(study), study.study_id, image.grid)
    require_same_grid(image.grid, label.grid, study.study_id)
    return LoadedStudy(image, label)


def read_label(path: Path, label_map: LabelMap, study_id: str = "", grid: Grid | None = None) -> Volume:
    """One label as class indices.

    Args:
        path: a file, or the folder of a DICOM-SEG.
        label_map: which value, or which segment, is which class.
        study_id: names the study in messages.
        grid: of the image that the label belongs to. A DICOM-SEG, which leaves out empty slices, comes back on it (on
            the smallest that holds its frames without one). A file's label comes back on it if its voxels are the
            grid's in another order, as converters of DICOM leave them; else on its own, which the caller compares.

    Returns:
        voxels uint8: 0 background, 1 the label map's first class, ..., ``IGNORE_INDEX`` where it says ignore.

    Raises:
        StudyError: missing, damaged, or no label; GeometryError: the frames of a DICOM-SEG are not slices of the grid;
        LabelError: fractions, values that nothing names, or voxels that two classes claim.
    """
    what = f"study {study_id} ({path})" if study_id else str(path)
    if is_dicom_label(path):
        return read_seg_label(path, label_map, what, grid)
    if path.name.lower().endswith(SUFFIXES):
        stored = read_itk_image(path, study_id)
        label = Volume(apply_label_map(stored.voxels, label_map, what), stored.grid)
    else:
        label = read_labels(path, label_map, study_id or None)
    return label if grid is None else _turned(label, grid)


def read_label_pair(
    paths: tuple[Path, Path], label_maps: tuple[LabelMap, LabelMap], study_id: str
) -> tuple[Volume, Volume]:
    """Two labels of a study, of which no image is at hand.

    A DICOM-SEG comes back on the other label's grid; two of them on the smallest that holds the frames of both. Of two
    files the second comes back as ``read_label`` gives it for the first's grid.

    Raises:
        StudyError: as ``read_label``.
    """
    (one, other), (one_map, other_map) = paths, label_maps
    if not is_dicom_label(one):
        first = read_label(one, one_map, study_id)
        return first, read_label(other, other_map, study_id, first.grid)
    if not is_dicom_label(other):
        second = read_label(other, other_map, study_id)
        return read_label(one, one_map, study_id, second.grid), second
    grid = seg_grid(paths, f"study {study_id}")
    return read_label(one, one_map, study_id, grid), read_label(other, other_map, study_id, grid)


def _turned(label: Volume, grid: Grid) -> Volume:
    if same_grid(label.grid, grid) or not same_voxels(label.grid, grid):
        return label
    voxels = reorient_like(reorient(label.voxels, label.grid.affine)[0], grid.affine)
    return Volume(np.asfortranarray(voxels), grid)


def is_dicom_label(path: Path) -> bool:
    """Whether ``read_label`` reads a path as DICOM-SEG: a folder, or a file that is DICOM by its name or content."""
    return path.is_dir() or is_dicom_name(path.name) or not (is_volume_file(path.name) or is_nifti(path))


def files_of(path: Path) -> list[Path]:
    """The files that an image or a label is read from, which are more than one for a folder and for a detached header.

    Raises:
        OSError: a header cannot be read.
    """
    if path.is_dir():
        return sorted(path.rglob("*"))
    voxels = data_file(path) if path.suffix.lower() in SUFFIXES else None
    return [path, voxels] if voxels else [path]
