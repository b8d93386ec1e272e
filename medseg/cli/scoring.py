"""``medseg evaluate`` and ``medseg compare``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.arguments import Definition, EmptyAs
from medseg.errors import ConfigError

if TYPE_CHECKING:
    from medseg.evaluation.results import Evaluation


def evaluate(
    reference: Annotated[Path, typer.Option(help="Folder of reference label maps, or a CSV: study_id, label.")],
    segmentation: Annotated[Path, typer.Option(help="Folder of segmentations, or a CSV: study_id, segmentation.")],
    labels: Annotated[
        str,
        typer.Option(
            help="liver=1,tumour=2; liver=1+2 merges; background=rest takes the others; liver=Liver: of DICOM-SEG."
        ),
    ],
    output: Annotated[Path, typer.Option(help="CSV to write; a .json of the same name stands beside it.")],
    segmentation_labels: Annotated[
        str | None, typer.Option(help="The same for the segmentations, if they differ.")
    ] = None,
    lesions: Annotated[
        list[str] | None, typer.Option(help="A label whose lesions are matched one by one.", show_default=False)
    ] = None,
    min_overlap: Annotated[float, typer.Option(min=0.0, max=1.0, help="IoU from which two lesions may be one.")] = 0.1,
    surface: Annotated[bool, typer.Option(help="HD, HD95, ASSD and NSD; without, it is faster.")] = True,
    tolerance_mm: Annotated[
        list[str] | None, typer.Option(help="Tolerance of NSD, as in liver=7; 2 mm for the others.", show_default=False)
    ] = None,
    definition: Annotated[
        Definition, typer.Option(help="What a surface is: elements with their area, or MONAI's border voxels.")
    ] = Definition.ELEMENTS,
    empty_as: Annotated[
        EmptyAs, typer.Option(help="What a label that both sides lack scores; nan counts in no mean.")
    ] = EmptyAs.NAN,
    resample_segmentation: Annotated[
        bool, typer.Option("--resample-segmentation", help="Bring segmentations of another grid onto the reference's.")
    ] = False,
    root: Annotated[Path | None, typer.Option(help="Folder that the reference CSV's paths are relative to.")] = None,
    segmentation_root: Annotated[Path | None, typer.Option(help="The same for the segmentations' CSV.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Studies at a time, each in its process.")] = 1,
    markdown: Annotated[Path | None, typer.Option(help="Table for a paper to write.", show_default=False)] = None,
    report: Annotated[
        Path | None, typer.Option(help="HTML page to write, with plots and a viewer.", show_default=False)
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the CTs (DICOM, too), for the page's viewer.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of the table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Score segmentations against references; needs no model."""
    from medseg.config.explain import checked
    from medseg.evaluation.arguments import parse_label_argument, parse_tolerances
    from medseg.evaluation.folders import evaluate_folders
    from medseg.evaluation.options import ScoringOptions
    from medseg.evaluation.summary import overall, summarise
    from medseg.files import atomic_path
    from medseg.reports.progress import Display
    from medseg.reports.tables import markdown_table

    if images and not report:
        raise ConfigError("--images are for the page's viewer: name the page with --report report.html")
    label_map = parse_label_argument(labels)
    other = parse_label_argument(segmentation_labels) if segmentation_labels else None
    settings = {
        "surface": surface,
        "tolerance_mm": parse_tolerances(tolerance_mm or []),
        "definition": definition.value,
        "lesions": lesions or [],
        "min_overlap": min_overlap,
        "empty_as": empty_as.value,
    }
    options = checked(ScoringOptions, settings)
    display = Display(quiet=quiet or as_json)
    with display.stage("evaluating", None):
        evaluation = evaluate_folders(
            reference,
            segmentation,
            label_map,
            other,
            options,
            root=root,
            segmentation_root=segmentation_root,
            resample_segmentation=resample_segmentation,
            workers=workers,
            on_done=lambda study_id, done, total: display.advance(study_id, completed=done, total=total),
        )
    written = evaluation.write(output)
    if markdown:
        written.append(markdown)
        with atomic_path(markdown) as path:
            table = markdown_table(summarise(evaluation.scores), overall(evaluation.scores), options)
            path.write_text(table, encoding="utf-8")
    if report:
        from medseg.runs.reporting import write_folders_report

        places = {"root": root, "segmentation_root": segmentation_root}
        pages = write_folders_report(report, evaluation, reference, segmentation, label_map, other, images, **places)
        written.append(pages[0])
    if as_json:
        print(json.dumps(_facts(evaluation, written)))
    else:
        print_scores(evaluation)
        print(f"scores: {', '.join(map(str, written))}")
    if evaluation.failures:
        raise typer.Exit(1)


def _facts(evaluation: Evaluation, written: Sequence[Path]) -> dict[str, object]:
    from medseg.evaluation.summary import summarise

    return {
        "studies": len(evaluation.scores),
        "failed": {failure.study_id: failure.reason for failure in evaluation.failures},
        "without_reference": list(evaluation.without_reference),
        "dice": {s.label: s.dice.mean if s.dice.n else None for s in summarise(evaluation.scores)},
        "files": [str(path) for path in written],
    }


def print_scores(evaluation: Evaluation) -> None:
    """The class-wise table, and who has no scores."""
    from rich.console import Console

    from medseg.evaluation.summary import overall, summarise
    from medseg.reports.tables import score_table

    if evaluation.scores:
        Console().print(score_table(summarise(evaluation.scores), overall(evaluation.scores), evaluation.options))
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
