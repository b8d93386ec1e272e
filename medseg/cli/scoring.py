"""``medseg evaluate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medseg.evaluation import Evaluation


def evaluate(
    reference: Annotated[Path, typer.Option(help="Folder of reference label maps.")],
    segmentation: Annotated[Path, typer.Option(help="Folder of segmentations.")],
    labels: Annotated[
        str, typer.Option(help="liver=1,tumour=2; liver=1+2 merges; background=rest ignores other values.")
    ],
    output: Annotated[Path, typer.Option(help="CSV to write; a .json of the same name stands beside it.")],
    segmentation_labels: Annotated[
        str | None, typer.Option(help="The same for the segmentations, if they differ.")
    ] = None,
) -> None:
    """Score segmentations against references; needs no model."""
    from medseg.evaluation import evaluate_folders, parse_label_argument

    label_map = parse_label_argument(labels)
    other = parse_label_argument(segmentation_labels) if segmentation_labels else None
    evaluation = evaluate_folders(reference, segmentation, label_map, other)
    evaluation.write_csv(output)
    evaluation.write_json(output.with_suffix(".json"))
    print_scores(evaluation)
    print(f"scores: {output}, {output.with_suffix('.json')}")
    if evaluation.failures:
        raise typer.Exit(1)


def print_scores(evaluation: Evaluation) -> None:
    """The class-wise table, and who has no scores."""
    from rich.console import Console

    from medseg.evaluation import overall, summarise
    from medseg.reports.tables import score_table

    if evaluation.scores:
        Console().print(score_table(summarise(evaluation.scores), overall(evaluation.scores)))
    if evaluation.failures:  # the reasons were said when they came up
        failed = ", ".join(failure.study_id for failure in evaluation.failures)
        print(f"{len(evaluation.failures)} failed, not scored (reasons above): {failed}", file=sys.stderr)
