"""Synthetic CT studies of the abdomen: images and labels of liver and liver tumours, with no patient behind them.

An anatomy (``anatomy.draw_anatomy``) is drawn on a CT's grid as a scanner would see it: voxels at a surface take a
share of both sides, the noise is correlated in the slice, and grids differ in spacing, orientation, origin and tilt.
Everything follows from (seed, index): study 3 is the same whether 4 or 40 studies are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import orientations as turns
from numpy.typing import NDArray

from medseg.phantom.anatomy import ADULT_WIDTH_MM, draw_anatomy
from medseg.phantom.rendering import SCANNER_RANGE_HU, Scene, draw_noise
from medseg.phantom.solids import rotation_matrix
from medseg.study.manifest import TEST, write_manifest
from medseg.study.nifti import write_image, write_labels
from medseg.types import Grid, Study, Volume

Range = tuple[float, float]


@dataclass(frozen=True)
class PhantomOptions:
    """How studies are drawn.

    The whole anatomy shrinks or grows with the field of view: 365 mm holds an adult, the default 200 mm a small child,
    which keeps truthful voxel sizes at an eighth of the voxels. Tumours keep their size in mm at any scale, unless
    the liver has no room for them.

    Attributes:
        field_of_view_mm: extent to the right, front and head.
        spacing_mm: range of the voxel size in the slice.
        slice_spacing_mm: range of the distance between slices.
        noise_hu: range of the noise's standard deviation.
        tumours: number of tumours in every study; None cycles through 0 to 4, shuffled.
        tumour_diameter_mm: range of diameters (of spheres as large). Small ones are more frequent, but the first
            tumour of a study has at least 15 mm where the range allows, so that each study's Dice means something.
        oblique_share: share of studies whose grid is tilted by up to about 10 degrees about each axis.

    Raises:
        ValueError: a size that is not positive, a range upside down, more than 20 tumours.
    """

    field_of_view_mm: tuple[float, float, float] = (200.0, 170.0, 160.0)
    spacing_mm: Range = (0.6, 0.9)
    slice_spacing_mm: Range = (1.0, 5.0)
    noise_hu: Range = (8.0, 20.0)
    tumours: int | None = None
    tumour_diameter_mm: Range = (5.0, 40.0)
    oblique_share: float = 0.25

    def __post_init__(self) -> None:
        ranges = (self.spacing_mm, self.slice_spacing_mm, self.tumour_diameter_mm)
        if min(self.field_of_view_mm) <= 0 or any(not 0 < low <= high for low, high in ranges):
            raise ValueError(
                f"expected sizes above 0 and ranges whose first number is not above the second, found {self}"
            )
        if not 0 <= (self.tumours or 0) <= 20:
            raise ValueError(f"expected 0 to 20 tumours, found {self.tumours}")


DEMO = PhantomOptions()
"""A small patient at a clinical CT's voxel sizes: about 270 x 230 x 60 voxels."""

SMALL = PhantomOptions(spacing_mm=(4.0, 4.4), slice_spacing_mm=(5.0, 5.0))
"""The same patients on coarse grids, about 48 x 40 x 32 voxels: for tests."""

ADULT = PhantomOptions(field_of_view_mm=(370.0, 370.0, 300.0), spacing_mm=(0.7227, 0.7227))
"""An adult on 512 x 512 voxels a slice: for measuring speed and memory."""

ORIENTATIONS = {"LPS": 0.4, "RAS": 0.25, "LAS": 0.12, "RPI": 0.08, "PIR": 0.05, "ASL": 0.05, "SAL": 0.05}
"""How voxel axes lie in the patient, and how often."""


def make_phantom(seed: int, index: int = 0, options: PhantomOptions = DEMO) -> tuple[Volume, Volume]:
    """Draw one study.

    Args:
        seed: names a series of studies; at least 0.
        index: which study of the series; at least 0. Unless ``options.tumours`` is given, 2, 7, 12, ... have no tumour.
        options: sizes, noise and tumours.

    Returns:
        Image (int16 HU) and label map (uint8: 0 background, 1 liver without tumour, 2 tumour) on one grid.
    """
    rng = np.random.default_rng([seed, index])
    grid = _draw_grid(rng, options)
    scale = _anatomy_scale(options)
    count = _tumour_count(seed, index) if options.tumours is None else options.tumours
    diameters = _draw_diameters(rng, count, options, grid.spacing_mm[2])
    parts = draw_anatomy(rng, [diameter / scale for diameter in diameters])
    image, label = Scene.drawn(rng, grid, scale).render(parts)
    image += draw_noise(rng, grid.shape, float(rng.uniform(*options.noise_hu)))
    voxels = np.clip(np.rint(image), *SCANNER_RANGE_HU).astype(np.int16)
    orientation = str(rng.choice(np.array(list(ORIENTATIONS)), p=list(ORIENTATIONS.values())))
    codes = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
    return _oriented(voxels, grid, orientation, codes), _oriented(label, grid, orientation, codes)


def write_phantoms(
    folder: Path, studies: int, seed: int = 0, *, test_share: float = 0.25, options: PhantomOptions = DEMO
) -> Path:
    """Write studies and their manifest; what is there under the same names is replaced.

    Args:
        folder: made if absent; gets images/, labels/ and manifest.csv.
        studies: how many, at least 1.
        seed: see ``make_phantom``.
        test_share: share of the studies (the last ones) in fold "test", at least one study of four or more; the others
            take folds 0 to 4 (or fewer) in turn.
        options: see ``make_phantom``.

    Returns:
        The manifest's path. Its paths are relative to ``folder``.

    Raises:
        ValueError: no studies asked for, or a share outside [0, 1).
    """
    if studies < 1 or not 0 <= test_share < 1:
        raise ValueError(f"expected at least 1 study and a test share in [0, 1), found {studies} and {test_share}")
    rows = []
    for index, fold in enumerate(_folds(studies, test_share)):
        study_id = f"phantom_{index:03d}"
        file = f"{study_id}.nii.gz"
        image, label = make_phantom(seed, index, options)
        write_image(folder / "images" / file, image.voxels, image)
        write_labels(folder / "labels" / file, label.voxels, label)
        rows.append(Study(study_id, f"subject_{index:03d}", fold, folder / "images" / file, folder / "labels" / file))
    write_manifest(folder / "manifest.csv", rows, folder)
    return folder / "manifest.csv"


def _folds(studies: int, test_share: float) -> list[str]:
    test = max(round(studies * test_share), 1) if studies >= 4 and test_share > 0 else 0
    train = studies - test
    return [str(index % min(5, train)) for index in range(train)] + [TEST] * test


def _anatomy_scale(options: PhantomOptions) -> float:
    return options.field_of_view_mm[0] / (ADULT_WIDTH_MM + 35)


def _tumour_count(seed: int, index: int) -> int:
    """0 to 4 tumours once in every five studies; the one without lies in the middle, seldom among the test studies."""
    block, place = divmod(index, 5)
    counts = np.random.default_rng([seed, block, 5]).permutation([1, 2, 3, 4]).tolist()
    return int([*counts[:2], 0, *counts[2:]][place])


def _draw_diameters(
    rng: np.random.Generator, count: int, options: PhantomOptions, slice_spacing_mm: float
) -> list[float]:
    """Log-uniform diameters in mm, largest first; none so thin that it slips between two slices."""
    low, high = options.tumour_diameter_mm
    low = min(max(low, 1.2 * slice_spacing_mm), high)
    first = [rng.uniform(min(max(15.0, low), high), high) for _ in range(min(count, 1))]
    rest = [np.exp(rng.uniform(np.log(low), np.log(high))) for _ in range(count - 1)]
    return sorted((float(diameter) for diameter in first + rest), reverse=True)


def _draw_grid(rng: np.random.Generator, options: PhantomOptions) -> Grid:
    """A grid whose axes run about to the right, front and head, somewhere in the scanner."""
    in_plane, between = float(rng.uniform(*options.spacing_mm)), float(rng.uniform(*options.slice_spacing_mm))
    spacing = np.array([in_plane, in_plane, between])
    shape = np.rint(np.array(options.field_of_view_mm) / spacing).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing)
    if rng.random() < options.oblique_share:
        affine[:3, :3] = rotation_matrix(rng.uniform(2, 10, 3) * rng.choice([-1, 0.3, 1], 3)) @ np.diag(spacing)
    centre = rng.uniform(-150, 150, 3)
    affine[:3, 3] = centre - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def _oriented(voxels: NDArray[Any], grid: Grid, orientation: str, codes: tuple[int, int]) -> Volume:
    """The same voxels stored in another order of axes, with a NIfTI header."""
    steps = turns.ornt_transform(turns.axcodes2ornt("RAS"), turns.axcodes2ornt(orientation))
    affine = grid.affine @ turns.inv_ornt_aff(steps, grid.shape)
    voxels = np.ascontiguousarray(turns.apply_orientation(voxels, steps))
    header = nib.Nifti1Image(voxels, affine).header
    header.set_qform(affine, codes[0])
    header.set_sform(affine, codes[1])
    header.set_xyzt_units("mm")
    i, j, k = voxels.shape
    # the header rounds to float32; with its affine, a phantom read back is the phantom made
    return Volume(voxels, Grid((i, j, k), np.asarray(header.get_best_affine(), np.float64)), header)
