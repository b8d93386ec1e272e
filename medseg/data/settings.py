"""Which studies train and validate, and how crops of them are drawn: settings, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, field, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from medseg.model.view import View
from medseg.settings import (
    MACHINE_PATH,
    MAY_CHANGE,
    NAMES_CLASSES,
    Fraction,
    NotNegative,
    PositiveInt,
    settings,
)
from medseg.study.label_map import NOT_CLASSES, LabelEntries, parse_labels
from medseg.types import Mode

NAMES_VALUES = replace(NAMES_CLASSES, also=NOT_CLASSES)


@settings
class DataSettings:
    """Which studies, and how they reach the network."""

    _: KW_ONLY
    manifest: Annotated[Path, MACHINE_PATH]
    """CSV with the columns study_id, subject_id, fold, image, label (and, optionally, label_map), relative to the
    working directory; images and labels are NIfTI, NRRD, MetaImage or DICOM (a series' folder, a DICOM-SEG)."""
    root: Annotated[Path, MACHINE_PATH] = Path(".")
    """Folder that the manifest's paths are relative to, and may not leave."""
    fold: int | Literal["all"] = 0
    """Fold that validates; the others train. "all" trains on every fold and validates on none."""
    label_maps: Mapping[str, Annotated[LabelEntries, NAMES_VALUES]] = field(default_factory=dict)
    """Other meanings of label values, for rows whose label_map column names one; each names classes of `labels`."""
    mode: Mode = "patch"
    """slice (2D), slab (2.5D: neighbouring slices as channels) or patch (3D)."""
    slab_neighbours: PositiveInt = 1
    """Slices on each side of the centre that become channels; only in mode slab."""
    patch_size: Annotated[tuple[PositiveInt, ...], Field(min_length=2, max_length=3)]
    """Voxels of a training crop on the network grid: two numbers in modes slice and slab, three in patch."""
    batch_size: PositiveInt = 2
    """Crops per step over all processes."""
    foreground_share: Fraction = 0.5
    """Share of crops centred on a voxel of a foreground class; the rest lie anywhere."""
    class_shares: Annotated[Mapping[str, NotNegative], NAMES_CLASSES] = field(default_factory=dict)
    """Relative share of each class among the foreground crops; classes not named get 1."""
    num_workers: Annotated[int, Field(ge=0), MAY_CHANGE] = 0
    """Processes that prepare batches; 0 prepares them in the training process."""
    cache_dir: Annotated[Path | None, MACHINE_PATH, MAY_CHANGE] = None
    """Where preprocessed studies are kept as memory maps; default runs/cache."""

    @field_validator("label_maps")
    @classmethod
    def _label_maps_make_maps(cls, value: Mapping[str, LabelEntries]) -> Mapping[str, LabelEntries]:
        for name, entries in value.items():
            try:
                parse_labels(entries)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        return value

    @property
    def view(self) -> View:
        """How the network sees a study."""
        return View(self.mode, self.slab_neighbours if self.mode == "slab" else 0)
