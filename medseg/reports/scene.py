"""A study as it is shown: arrays in RAS order, cut to what is labelled, and how their slices become panels.

Views are radiological: the patient's right on the viewer's left; axial with anterior on top, coronal and sagittal with
superior on top, sagittal with anterior on the left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.study.geometry import reorient, require_same_grid
from medseg.types import IGNORE_INDEX, Affine, Volume

Voxels = NDArray[Any]

_MARGIN_MM = 30.0
"""Shown around all that is labelled."""

_LEAST_EXTENT_MM = 150.0
"""Side of the smallest view: enough anatomy around a small lesion to see where it is."""


@dataclass(frozen=True)
class View:
    """How a slice of an RAS array becomes a panel; R, A and S grow with the index, so all axes are shown reversed."""

    name: str
    axis: int
    """Cut across; the two others run along the columns and the rows, in this order."""
    sides: tuple[str, str, str, str]
    """Letters on the left, right, top and bottom."""

    @property
    def plane(self) -> tuple[int, int]:
        """The axes along the columns and along the rows."""
        columns, rows = (axis for axis in range(3) if axis != self.axis)
        return columns, rows

    def pixels(self, voxels: Voxels, index: int) -> Voxels:
        """(rows, columns), top row first."""
        return np.asarray(np.flip(np.take(voxels, index, axis=self.axis).T, (0, 1)))


VIEWS = (
    View("axial", 2, ("R", "L", "A", "P")),
    View("coronal", 1, ("R", "L", "S", "I")),
    View("sagittal", 0, ("A", "P", "S", "I")),
)


@dataclass(frozen=True)
class Scene:
    """What is shown: arrays of one shape in RAS order, cut to the region of interest."""

    image: Voxels
    reference: NDArray[np.uint8] | None
    segmentation: NDArray[np.uint8]
    affine: Affine

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Millimetres between voxel centres along R, A, S."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    def ratio(self, view: View) -> float:
        """Width over height of a panel, in millimetres."""
        extents_mm = np.array(self.image.shape) * self.spacing_mm
        columns, rows = view.plane
        return float(extents_mm[columns] / extents_mm[rows])

    def slice_index(self, view: View, *, by_reference: bool = False) -> int:
        """The slice with the most errors, else the most labels, else the middle one; or with the most reference."""
        first = self.errors() if self.reference is None or not by_reference else foreground(self.reference)
        for mask in (first, self.labelled()):
            areas = np.count_nonzero(mask, axis=view.plane)
            if areas.any():
                return int(np.argmax(areas))
        return int(self.image.shape[view.axis]) // 2

    def errors(self) -> NDArray[np.bool_]:
        """Voxels with another class in the segmentation than in the reference; nowhere without a reference."""
        if self.reference is None:
            return np.zeros(self.segmentation.shape, dtype=bool)
        return np.asarray((self.reference != self.segmentation) & (self.reference != IGNORE_INDEX))

    def labelled(self) -> NDArray[np.bool_]:
        """Voxels that are of a class in either."""
        occupied = foreground(self.segmentation)
        return occupied if self.reference is None else occupied | foreground(self.reference)

    def position_mm(self, view: View, index: int) -> float:
        """World coordinate of the slice's centre along the axis that it cuts."""
        centre = np.append((np.array(self.image.shape) - 1) / 2, 1.0)
        centre[view.axis] = index
        return float((self.affine @ centre)[view.axis])


def make_scene(
    image: Volume, reference: Volume | None, segmentation: Volume, what: str, *, by_reference: bool = False
) -> Scene:
    """Bring three volumes of one grid into RAS order and cut them to what is labelled, with a margin.

    Args:
        image: HU in any orientation; an oblique grid is shown along its own axes, those nearest to R, A, S.
        reference: class indices, maybe with ``IGNORE_INDEX``; None where there is none.
        segmentation: class indices.
        what: names the study in errors.
        by_reference: cut to what the reference labels, where there is one, whatever the segmentation does.

    Raises:
        GeometryError: the volumes do not share a grid.
    """
    for volume, name in ((reference, "reference"), (segmentation, "segmentation")):
        if volume is not None:
            require_same_grid(image.grid, volume.grid, f"{what}: image and {name}")
    affine = image.grid.affine
    voxels, ras = reorient(image.voxels, affine)
    whole = Scene(
        voxels,
        None if reference is None else reorient(reference.voxels, affine)[0],
        reorient(segmentation.voxels, affine)[0],
        ras,
    )
    labelled = foreground(whole.reference) if by_reference and whole.reference is not None else whole.labelled()
    box = _region(labelled, whole.spacing_mm)
    start = np.eye(4)
    start[:3, 3] = [part.start for part in box]
    return Scene(
        whole.image[box],
        None if whole.reference is None else whole.reference[box],
        whole.segmentation[box],
        ras @ start,
    )


def foreground(classes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a class is, neither background nor ignored."""
    return np.asarray((classes != 0) & (classes != IGNORE_INDEX))


def _region(labelled: NDArray[np.bool_], spacing_mm: NDArray[np.float64]) -> tuple[slice, slice, slice]:
    """Box around the labels with a margin, not smaller than ``_LEAST_EXTENT_MM``; everything if nothing is labelled."""
    box = []
    for axis, length in enumerate(labelled.shape):
        occupied = np.flatnonzero(labelled.any(axis=tuple(a for a in range(3) if a != axis)))
        if not occupied.size:
            return slice(0, labelled.shape[0]), slice(0, labelled.shape[1]), slice(0, labelled.shape[2])
        extent = (occupied[-1] - occupied[0] + 1) * spacing_mm[axis]
        margin = max(_MARGIN_MM, (_LEAST_EXTENT_MM - extent) / 2) / spacing_mm[axis]
        box.append(slice(max(0, int(occupied[0] - margin)), min(length, int(occupied[-1] + 1 + margin))))
    return box[0], box[1], box[2]
