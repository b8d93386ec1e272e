"""Shapes, spacings and the small frozen dataclasses that cross a border between modules.

One axis order everywhere: voxel arrays are (I, J, K), the NIfTI array axes; batches are (B, C, I, J, K), slices
(B, C, I, J). An affine maps voxel indices to world millimetres in RAS+ (NIfTI's convention).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Shape3 = tuple[int, int, int]
"""Voxels along I, J, K."""

Spacing = tuple[float, float, float]
"""Millimetres between voxel centres along I, J, K."""

Affine = NDArray[np.float64]
"""4 x 4, voxel index -> world millimetres, RAS+."""

Mode = Literal["slice", "slab", "patch"]
"""2D slices, 2.5D slabs (neighbouring slices as channels), 3D patches."""

AxisName = Literal["R", "A", "S"]
"""An axis of the network grid by the side that it leads to."""

AXES: Mapping[AxisName, int] = {"R": 0, "A": 1, "S": 2}
"""Axis -> its place in arrays of the network grid, whose orientation is RAS."""

Definition = Literal["elements", "voxels"]
"""What a surface is made of; see ``metrics.surface``."""

BACKGROUND = "background"
"""Name of class 0."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels lie: a shape and an affine.

    Attributes:
        shape: voxels along I, J, K.
        affine: (4, 4) voxel -> world millimetres, RAS+.
    """

    shape: Shape3
    affine: Affine

    @property
    def spacing_mm(self) -> Spacing:
        """Length of each voxel axis in millimetres."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres (1 ml = 1000 mm^3), right for oblique and sheared grids."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0


@dataclass(frozen=True)
class StudyInput:
    """One CT to be segmented, before it is read.

    Attributes:
        study_id: names the outputs.
        path: a NIfTI, NRRD or MetaImage file, or the folder of a DICOM series.
        series_uid: which series of a DICOM folder, by its UID or (as in a manifest) its number; "" for files, and where
            there is only one.
    """

    study_id: str
    path: Path
    series_uid: str = ""


@dataclass(frozen=True)
class DicomSource:
    """Where a volume that was read from DICOM came from.

    Attributes:
        files: one a slice, in the order of the volume's K axis; I runs along the columns of a row, J down the rows.
        straightened: the slices of a tilted gantry were resampled to a straight grid, so the volume's slices are no
            longer those of the files.
    """

    files: tuple[Path, ...]
    straightened: bool = False


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels and the grid they lie on.

    Attributes:
        voxels: (I, J, K) array; HU for images, class indices for label maps.
        grid: the array's shape and affine.
        header: the file's own header (nibabel), kept to write a segmentation back; None for arrays made in memory and
            for files that are no NIfTI.
        source: the slices that a DICOM series was read from; None otherwise.
    """

    voxels: NDArray[Any]
    grid: Grid
    header: Any = None
    source: DicomSource | None = None


LabelValues = tuple[int | str, ...]
"""What a label map names: numbers in a label file; of a DICOM-SEG also segments, by their labels."""


@dataclass(frozen=True)
class LabelMap:
    """How the values of a label file become class indices.

    Class 0 is background; class c (1-based) is ``names[c - 1]``.

    Attributes:
        classes: class name -> the file values merged into it, in class order; of a DICOM-SEG the numbers of segments,
            or their labels.
        ignore: file values that neither train nor score.
        background: file values, beside 0, that are background.
        rest_is_background: values that nothing names become background instead of an error.
    """

    classes: Mapping[str, LabelValues]
    ignore: LabelValues = ()
    background: LabelValues = ()
    rest_is_background: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Foreground class names in class order (class 1 first)."""
        return tuple(self.classes)

    @property
    def indices(self) -> tuple[tuple[int, LabelValues], ...]:
        """Each class index with the values that become it: background, ``IGNORE_INDEX``, then the classes."""
        return ((0, self.background), (IGNORE_INDEX, self.ignore), *enumerate(self.classes.values(), start=1))


IGNORE_INDEX = 255
"""Class index of voxels that neither train nor score (so at most 254 foreground classes)."""


@dataclass(frozen=True)
class Study:
    """One CT as a manifest lists it.

    Attributes:
        study_id: unique in the manifest; names the output files.
        subject_id: the person; splits go by subject.
        fold: "0", "1", ... for cross-validation, "test" for the test set, "" for not assigned.
        image: absolute path of a file, or of the folder of a DICOM series.
        label: absolute path or None.
        label_map: name of one of the pipeline's ``data.label_maps``; "" means the pipeline's ``labels``.
        series: which series of a DICOM folder, by its number or UID; "" where there is only one.
    """

    study_id: str
    subject_id: str
    fold: str
    image: Path
    label: Path | None = None
    label_map: str = ""
    series: str = ""

    @property
    def input(self) -> StudyInput:
        """Its image alone, as something to be read or segmented."""
        return StudyInput(self.study_id, self.image, self.series)
