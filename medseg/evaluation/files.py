"""Two label files to the scores of one study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ConfigError, GeometryError
from medseg.evaluation.options import DEFAULT_OPTIONS, ScoringOptions
from medseg.evaluation.regrid import outside_share, resample_nearest
from medseg.evaluation.scores import StudyScores, score_arrays
from medseg.study.geometry import require_same_grid, same_grid
from medseg.study.load import is_dicom_label, read_label, read_label_pair
from medseg.types import LabelMap, Volume

_UNSEEN = "two DICOM-SEGs: slices that neither of them shows do not count (in specificity)"


def score_files(
    study_id: str,
    reference_path: Path,
    segmentation_path: Path,
    reference_map: LabelMap,
    segmentation_map: LabelMap,
    options: ScoringOptions = DEFAULT_OPTIONS,
    *,
    resample_segmentation: bool = False,
) -> StudyScores:
    """Score a segmentation file against a reference file.

    Args:
        study_id: named in the rows and in errors.
        reference_path: label of any format that ``study.load`` reads.
        segmentation_path: label on the same grid.
        reference_map: how the reference's values become classes.
        segmentation_map: the same classes from the segmentation's values. Its ``ignore`` is not used: a segmentation
            does not choose where it is scored, so such values are values that nothing names.
        options: what to score beside the overlap.
        resample_segmentation: bring a segmentation on another grid onto the reference's, nearest neighbour, and say so
            in the result's note; otherwise it is refused.

    Raises:
        ConfigError: the two maps name different classes, or the options name a label that is none.
        StudyError: a file cannot be read, the grids differ, or a value is no class.
    """
    require_same_classes(reference_map, segmentation_map)
    names = reference_map.names
    options.require(names)
    segmentation_map = replace(segmentation_map, classes={n: segmentation_map.classes[n] for n in names}, ignore=())
    paths, maps = (reference_path, segmentation_path), (reference_map, segmentation_map)
    try:
        reference, segmentation = read_label_pair(paths, maps, study_id)
    except GeometryError:
        if not resample_segmentation or is_dicom_label(reference_path):  # which alone knows not where its slices end
            raise
        reference, segmentation = (read_label(*one, study_id) for one in zip(paths, maps, strict=True))
    what = f"{study_id}: reference and segmentation"
    voxels, note = segmentation.voxels, _UNSEEN if all(map(is_dicom_label, paths)) else ""
    if resample_segmentation and not same_grid(reference.grid, segmentation.grid):
        voxels, note = _onto(reference, segmentation, what)
    else:
        require_same_grid(reference.grid, segmentation.grid, what)
    return score_arrays(study_id, reference.voxels, voxels, names, reference.grid.affine, options, note=note)


def require_same_classes(reference_map: LabelMap, segmentation_map: LabelMap) -> None:
    """Refuse two label maps that do not name the same classes, in whatever order.

    Raises:
        ConfigError: they do not; the message lists both.
    """
    if set(reference_map.names) != set(segmentation_map.names):
        raise ConfigError(
            f"expected the same classes for both, found {', '.join(reference_map.names)} for the reference and "
            f"{', '.join(segmentation_map.names)} for the segmentation"
        )


def _onto(reference: Volume, segmentation: Volume, what: str) -> tuple[NDArray[np.uint8], str]:
    voxels = resample_nearest(segmentation, reference.grid, what)
    old, new = segmentation.grid, reference.grid
    note = (
        f"segmentation resampled (nearest neighbour) from {'x'.join(map(str, old.shape))} at "
        f"{' x '.join(f'{mm:.4g}' for mm in old.spacing_mm)} mm to {'x'.join(map(str, new.shape))} at "
        f"{' x '.join(f'{mm:.4g}' for mm in new.spacing_mm)} mm"
    )
    outside = outside_share(old, new)
    return voxels, note + (f"; {outside:.1%} of the reference lies outside of it, taken as background" * (outside > 0))
