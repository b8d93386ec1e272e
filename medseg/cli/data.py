"""``medseg phantom`` and ``medseg manifest``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def phantom(
    output: Annotated[Path, typer.Option(help="Folder for images/, labels/ and manifest.csv.")],
    studies: Annotated[int, typer.Option(min=1, help="How many.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal studies.")] = 0,
) -> None:
    """Make CT-like phantoms with liver and tumours to try everything on."""
    from medseg.phantom.make import write_phantoms

    manifest = write_phantoms(output, studies, seed)
    print(f"{studies} studies: {manifest}")


def manifest(
    folder: Annotated[Path, typer.Argument(help="An MSD, LiTS or nnU-Net folder, or image/label pairs.")],
    output: Annotated[Path, typer.Option(help="CSV to write.")] = Path("manifest.csv"),
    folds: Annotated[int, typer.Option(min=2, help="Folds by subject, seeded.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the folds.")] = 12345,
) -> None:
    """Write a manifest of a data folder, with folds by subject."""
    from medseg.study.layouts import find_studies
    from medseg.study.manifest import assign_folds, write_manifest

    layout = find_studies(folder)
    print(f"recognised {layout.description}")
    subjects = len({s.subject_id for s in layout.studies if not s.fold})
    if 0 < subjects < folds:
        plan = f"{subjects} folds" if subjects > 1 else "no folds: train with data.fold=all"
        print(f"{subjects} subjects are too few for {folds} folds; made {plan}")
    studies = layout.studies if subjects == 1 else assign_folds(layout.studies, max(2, min(folds, subjects)), seed)
    write_manifest(output, studies, layout.root)
    labels = ", ".join(f"{k}: {v}" for k, v in (layout.labels or {}).items() if v != 0)
    print(f"wrote {output}; in the pipeline: data.manifest={output} data.root={layout.root}")
    if labels:
        print(f"labels of the data set: {{{labels}}}")
