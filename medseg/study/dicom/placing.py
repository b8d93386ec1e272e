"""Where the frames of a DICOM-SEG lie on a grid of voxels: exactly on its slices, or nowhere.

The grid's axes may run in any order and direction: a frame fills one slice of it, whichever axis runs across.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryError
from medseg.study.dicom.segmentation import Frame, Segmentation
from medseg.study.geometry import GRID_TOLERANCE_MM
from medseg.types import Grid

_SAME_PLANE_MM = 0.02
"""Below this, two frames lie in one plane; CT slices are 0.1 mm apart or more."""

_UNEVEN_SHARE = 0.02
"""How far two planes may lie from a multiple of a spacing apart, as a share of it: positions are rounded."""

_MOST_SLICES = 4096


@dataclass(frozen=True)
class Place:
    """The slice of a grid that a frame fills.

    Attributes:
        across: the grid's axis across the frame.
        index: of the slice on that axis.
        swapped: whether the frame's columns run along the later of the two other axes.
        columns: 1, or -1 where the frame's columns run against the grid's axis.
        rows: the same for its rows.
    """

    across: int
    index: int
    swapped: bool
    columns: int
    rows: int

    def on(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """The slice of an array on the grid as the frame's (columns, rows): a view, to be written to."""
        plane: NDArray[Any] = np.moveaxis(voxels, self.across, 0)[self.index]
        plane = plane.T if self.swapped else plane
        return plane[:: self.columns, :: self.rows]


def place(segmentation: Segmentation, frame: Frame, grid: Grid) -> Place:
    """Where a frame lies on a grid.

    Raises:
        GeometryError: its pixels are not the voxels of one slice of the grid; the message gives the numbers.
    """
    moves = (np.linalg.inv(grid.affine) @ frame.affine)[:3, [0, 1, 3]]  # of a column, of a row; the first pixel
    whole = np.rint(np.clip(moves, -1e9, 1e9)).astype(np.int64)
    columns, rows = (np.flatnonzero(whole[:, one]) for one in (0, 1))
    if _off_mm(grid, moves - whole, segmentation.shape) <= GRID_TOLERANCE_MM and len(columns) == len(rows) == 1:
        i, j = int(columns[0]), int(rows[0])
        steps = int(whole[i, 0]), int(whole[j, 1])
        across = 3 - i - j
        begins = [0 if step == 1 else grid.shape[axis] - 1 for step, axis in zip(steps, (i, j), strict=True)]
        fits = (grid.shape[i], grid.shape[j]) == segmentation.shape and whole[[i, j], 2].tolist() == begins
        k = int(whole[across, 2]) if i != j else -1
        if fits and set(map(abs, steps)) == {1} and 0 <= k < grid.shape[across]:
            return Place(across, k, i > j, *steps)
    raise GeometryError(_elsewhere(segmentation, frame, grid, moves[:, 2]))


def own_grid(segmentation: Segmentation) -> Grid:
    """The smallest even grid that holds all frames: I along the columns, J down the rows, K across.

    Its step is the file's spacing between slices where all frames lie multiples of that apart, else the smallest
    distance between two of them: where only every other slice has a segment, the file should say its spacing.

    Raises:
        GeometryError: a single plane without spacing or thickness. Frames at uneven distances are refused by ``place``.
    """
    first = segmentation.frames[0].affine
    heights = np.array([(frame.affine - first)[:3, 3] @ first[:3, 2] for frame in segmentation.frames])
    lowest, highest = (segmentation.frames[int(end)].affine[:3, 3] for end in (heights.argmin(), heights.argmax()))
    gaps = np.diff(np.sort(heights))
    gaps = gaps[gaps > _SAME_PLANE_MM]
    affine = first.copy()
    affine[:3, 3] = lowest
    if len(gaps):
        slices = round(float(np.rint(gaps / _step_mm(gaps, segmentation.spacing_mm)).sum())) + 1
        affine[:3, 2] = (highest - lowest) / (slices - 1)
    elif height := segmentation.spacing_mm or segmentation.thickness_mm:
        slices = 1
        affine[:3, 2] *= height
    else:
        raise GeometryError(f"{segmentation.what}: a single plane without SliceThickness has no volume")
    return _limited(Grid((*segmentation.shape, slices), affine), segmentation.what)


def joined_grid(one: Grid, other: Grid, what: str) -> Grid:
    """The finer of two grids, longer along K where the other reaches further.

    Raises:
        GeometryError: it would be longer than any CT, for the two lie far apart.
    """
    if other.spacing_mm[2] < one.spacing_mm[2] * (1 - _UNEVEN_SHARE):
        one, other = other, one
    ends = np.array([[0, 0, 0, 1], [0, 0, other.shape[2] - 1, 1]], float).T
    reach = np.rint((np.linalg.inv(one.affine) @ other.affine @ ends)[2])
    low, high = min(0, int(reach.min())), max(one.shape[2] - 1, int(reach.max()))
    affine = one.affine.copy()
    affine[:3, 3] += low * affine[:3, 2]
    return _limited(Grid((one.shape[0], one.shape[1], high - low + 1), affine), what)


def _step_mm(gaps: NDArray[np.float64], spacing_mm: float | None) -> float:
    if spacing_mm:
        times = gaps / spacing_mm
        if (times > 0.5).all() and (np.abs(times - np.rint(times)) <= _UNEVEN_SHARE * np.rint(times)).all():
            return spacing_mm
    return float(gaps.min())


def _limited(grid: Grid, what: str) -> Grid:
    if grid.shape[2] > _MOST_SLICES:
        raise GeometryError(
            f"{what}: expected frames that lie together, found {grid.shape[2]} slices of {grid.spacing_mm[2]:.3g} mm "
            "from the first to the last; they belong to different studies, or a position is wrong"
        )
    return grid


def _off_mm(grid: Grid, off: NDArray[np.float64], shape: tuple[int, int]) -> float:
    """How far the frame's corners lie from the voxels that they were rounded to."""
    corners = np.array([[i, j, 1] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1)], float).T
    return float(np.linalg.norm(grid.affine[:3, :3] @ off @ corners, axis=0).max())


def _elsewhere(segmentation: Segmentation, frame: Frame, grid: Grid, begins: NDArray[np.float64]) -> str:
    pixels = np.linalg.norm(frame.affine[:3, :2], axis=0)
    return (
        f"{segmentation.what}: expected the DICOM-SEG's frames on slices of the image's grid "
        f"({'x'.join(map(str, grid.shape))} voxels of {' x '.join(f'{mm:.3g}' for mm in grid.spacing_mm)} mm), found "
        f"frame {frame.index + 1} with {segmentation.shape[0]}x{segmentation.shape[1]} pixels of "
        f"{' x '.join(f'{mm:.3g}' for mm in pixels)} mm whose first pixel is its voxel "
        f"({', '.join(f'{x + 0.0:.2f}' for x in begins)}); take the segmentation drawn on this image"
    )
