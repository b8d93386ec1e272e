"""``medseg evaluate`` and ``medseg compare``."""

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


def compare(
    evaluations: Annotated[
        list[str],
        typer.Argument(
            help="Two or more: an evaluation.json or .csv, a run's folder, or NAME=PATH.", metavar="A B ..."
        ),
    ],
    metric: Annotated[str, typer.Option(help="Score to compare: dice, iou, nsd, hd95_mm ...")] = "dice",
    label: Annotated[list[str] | None, typer.Option(help="Only this label; may be given several times.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for Markdown, CSV, JSON and pictures.")] = None,
) -> None:
    """Compare methods study by study: differences, their p, and whether ranks hold."""
    from rich.console import Console

    from medseg.evaluation.comparison import compare_evaluations
    from medseg.evaluation.comparison_input import read_evaluations
    from medseg.reports.comparison import comparison_tables, write_comparison

    comparison = compare_evaluations(read_evaluations(evaluations), metric, label or None)
    Console().print(comparison_tables(comparison))
    if output is not None:
        from medseg.reports.comparison_plots import write_plots  # matplotlib is slow to load

        paths = [*write_comparison(comparison, output), *write_plots(comparison, output)]
        print(f"{output}: {', '.join(path.name for path in paths)}")
