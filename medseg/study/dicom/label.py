"""A DICOM-SEG as a label map: its chosen segments, painted onto a grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.errors import LabelError
from medseg.study.dicom.placing import joined_grid, own_grid, place
from medseg.study.dicom.segmentation import Frame, Segmentation, find_segmentation, read_segmentation
from medseg.study.dicom.segments import class_of_segments, named_segment
from medseg.types import IGNORE_INDEX, Grid, LabelMap, Volume


def read_seg_label(path: Path, label_map: LabelMap, what: str, grid: Grid | None = None) -> Volume:
    """One DICOM-SEG as class indices.

    Args:
        path: of the file, or of a folder that holds just one.
        label_map: which segment, by number or label, is which class.
        what: names the study in messages.
        grid: of the image that it belongs to; None for the smallest that holds its frames.

    Returns:
        voxels uint8 as from any label file; 0 on slices that no frame shows.

    Raises:
        StudyError: it cannot be read, or is no DICOM-SEG; GeometryError: its frames are not slices of the grid;
        LabelError: the label map does not fit its segments, or two classes claim the same voxels.
    """
    segmentation = read_segmentation(find_segmentation(path, what), what)
    grid = grid or own_grid(segmentation)
    classes = class_of_segments(segmentation.segments, _shown(segmentation), label_map, what)
    voxels = np.zeros(grid.shape, np.uint8, order="F")
    clashes: Counter[tuple[int, int]] = Counter()
    for frame in segmentation.frames:
        plane = place(segmentation, frame, grid).on(voxels)
        if frame.segment and not classes[frame.segment]:
            continue
        painted = _painted(segmentation, frame, classes)
        twice = (plane != 0) & (painted != 0) & (plane != painted)
        if twice.any():
            clashes.update(zip(plane[twice].tolist(), painted[twice].tolist(), strict=True))
        np.copyto(plane, painted, where=painted != 0)
    if clashes:
        _refuse_clashes(clashes, segmentation, classes, label_map)
    return Volume(voxels, grid)


def seg_grid(paths: tuple[Path, Path], what: str) -> Grid:
    """The smallest grid that holds the frames of two DICOM-SEGs.

    Raises:
        StudyError: one cannot be read; GeometryError: they lie far apart.
    """
    one, other = (own_grid(read_segmentation(find_segmentation(path, what), what)) for path in paths)
    return joined_grid(one, other, what)


def _shown(segmentation: Segmentation) -> set[int]:
    """Numbers of the segments that frames show; where pixels are numbers, those of the pixels."""
    numbers = {frame.segment for frame in segmentation.frames} - {0}
    for frame in segmentation.frames:
        if not frame.segment:
            numbers |= set(np.unique(segmentation.pixels(frame)).tolist()) - {0}
    return numbers


def _painted(segmentation: Segmentation, frame: Frame, classes: Mapping[int, int]) -> NDArray[np.uint8]:
    pixels = segmentation.pixels(frame)
    if frame.segment:
        return np.where(pixels, np.uint8(classes[frame.segment]), np.uint8(0))
    table = np.zeros(int(pixels.max()) + 1, np.uint8)
    for number, index in classes.items():
        table[number : number + 1] = index  # a number above the frame's largest has no place, and needs none
    painted: NDArray[np.uint8] = table[pixels]
    return painted


def _refuse_clashes(
    clashes: Counter[tuple[int, int]], segmentation: Segmentation, classes: Mapping[int, int], label_map: LabelMap
) -> None:
    names = {IGNORE_INDEX: "ignore", **dict(enumerate(label_map.names, start=1))}

    def called(index: int) -> str:
        numbers = [number for number, own in classes.items() if own == index]
        return f"{names[index]} ({', '.join(named_segment(n, segmentation.segments.get(n, '')) for n in numbers)})"

    listed = "; ".join(f"{count} to {called(a)} and {called(b)}" for (a, b), count in clashes.most_common())
    raise LabelError(
        f"{segmentation.what}: expected each voxel in one class, found {sum(clashes.values())} in several: {listed}; "
        "take one of the segments as background, or make them one class"
    )
