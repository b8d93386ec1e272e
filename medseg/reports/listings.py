"""Tables of what there is: networks (``medseg networks``) and studies (``medseg check``)."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from medseg.networks.table import NetworkRow
from medseg.study.check import StudyFacts


def network_table(rows: Sequence[NetworkRow]) -> Table:
    """One row a network: name, year, dims, encoders, parameters in 2D and 3D."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("network", "year", "dims", "encoders"):
        table.add_column(column, overflow="fold")
    table.add_column("parameters 2D", justify="right")
    table.add_column("parameters 3D", justify="right")
    for row in rows:
        dims = ", ".join(f"{d}D" for d in row.dims)
        counts = (f"{n:,}" if n is not None else "-" for n in (row.parameters_2d, row.parameters_3d))
        table.add_row(row.name, str(row.year), dims, ", ".join(row.encoders), *counts)
    return table


def facts_table(facts: Sequence[StudyFacts], class_names: Sequence[str]) -> Table:
    """One row a study: shape, spacing, orientation and the voxels of each class (- where no label was read)."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("study", "shape", "spacing mm", "axes", *(f"{name} voxels" for name in class_names)):
        table.add_column(column, justify="right" if column.endswith("voxels") else "left")
    for study in facts:
        table.add_row(
            study.study_id,
            " x ".join(str(n) for n in study.shape),
            " x ".join(f"{mm:.3g}" for mm in study.spacing_mm),
            study.orientation,
            *(f"{study.label_voxels.get(name, 0):,}" if study.label_voxels else "-" for name in class_names),
        )
    return table
