"""``medseg segment`` and ``medseg tune-postprocessing``."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.batch.writers import WRITERS
from medseg.cli.arguments import Backend, Device, Engine, Uncertainty

if TYPE_CHECKING:
    from medseg.batch.record import Outcome


def segment(
    model: Annotated[
        list[str],
        typer.Option(
            help="A model folder, the run folder that holds it, models:/NAME@ALIAS or runs:/ID/model; several are an "
            "ensemble."
        ),
    ],
    input: Annotated[
        Path,
        typer.Option(help="A NIfTI, NRRD or MetaImage file, a DICOM folder, a tree of any of them, or a manifest CSV."),
    ],
    output: Annotated[Path, typer.Option(help="Folder for <study_id>.nii.gz and .json, and segment.jsonl.")],
    root: Annotated[Path | None, typer.Option(help="Folder that the manifest's paths are relative to.")] = None,
    write: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"Written of each study: {', '.join(f'{name} ({writer.about})' for name, writer in WRITERS.items())}.",
            show_default=False,
        ),
    ] = None,
    masks: Annotated[bool, typer.Option("--masks", help="The same as --write masks.")] = False,
    dicom_seg: Annotated[bool, typer.Option("--dicom-seg", help="The same as --write dicom_seg.")] = False,
    lesions: Annotated[
        list[str] | None, typer.Option(help="A class whose lesions each study's JSON lists.", show_default=False)
    ] = None,
    document: Annotated[bool, typer.Option(help="Write each study's JSON: volumes, HU, lesions.")] = True,
    probabilities: Annotated[
        list[str] | None, typer.Option(help="A class whose probability is written as NIfTI.", show_default=False)
    ] = None,
    uncertainty: Annotated[
        Uncertainty, typer.Option(help="Written as NIfTI; disagreement is that of an ensemble.")
    ] = Uncertainty.NONE,
    locate: Annotated[
        str | None, typer.Option(help="A coarse model that finds the organ first.", show_default=False)
    ] = None,
    backend: Annotated[
        Backend, typer.Option(help="What runs the network; auto: on a CPU, the faster one.")
    ] = Backend.TORCH,
    memory_gib: Annotated[float | None, typer.Option(min=0.1, help="Memory at most.", show_default=False)] = None,
    device: Annotated[Device, typer.Option(help="Where it runs.")] = Device.AUTO,
    engine: Annotated[Engine, typer.Option(help="This machine, or an existing Ray cluster.")] = Engine.LOCAL,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes: 1, or with ray one a GPU or machine.", show_default=False)
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Every N-th study from the I-th on, for job arrays.")
    ] = None,
    largest_first: Annotated[
        bool, typer.Option("--largest-first", help="Begin with the largest files: evens out many workers.")
    ] = False,
    report: Annotated[bool, typer.Option("--report", help="Write OUTPUT/report.html, to look through them.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Segment what is done already, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON line a study and one for all.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Segment studies, each on its own grid; a broken one never stops the others, and a second run goes on."""
    from medseg.batch.job import SegmentJob
    from medseg.inference.request import Request
    from medseg.reports.batch_progress import BatchDisplay, batch_summary, summary_lines
    from medseg.signals import interrupt_on_sigterm

    flags = {"masks": masks, "dicom_seg": dicom_seg, "document": document}
    job = SegmentJob(
        [_model_folder(name) for name in model],
        input,
        output,
        root=root,
        write=(*(write or ()), *(name for name, given in flags.items() if given)),
        lesions=lesions or (),
        request=Request(tuple(probabilities or ()), uncertainty.value),
        locate=_model_folder(locate) if locate else None,
        device=device.value,
        backend=backend.value,
        memory_gib=memory_gib,
        engine=engine.value,
        workers=workers,
        shard=shard,
        largest_first=largest_first,
        again=again,
    )
    display = BatchDisplay(len(job.inputs), quiet=quiet)

    def on_done(outcome: Outcome) -> None:
        display.done(outcome)
        if as_json:
            print(json.dumps(asdict(outcome)), flush=True)

    started = time.monotonic()
    try:
        with interrupt_on_sigterm(), display:
            outcomes = job.run(on_stage=display.stage, on_done=on_done)
    except KeyboardInterrupt as interrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        raise typer.Exit(143 if str(interrupt) == "SIGTERM" else 130) from None
    summary = batch_summary(outcomes, time.monotonic() - started, job.record)
    print(json.dumps(summary) if as_json else "\n".join(summary_lines(summary)))
    if report:
        from medseg.runs.reporting import write_batch_report

        failed = {outcome.study_id: outcome.reason for outcome in outcomes if outcome.status == "failed"}
        pages = write_batch_report(output / "report.html", job.inputs, failed, output, job.class_names)
        if not as_json:
            print(f"page: {pages[0]}")
    if summary["failed"]:
        raise typer.Exit(1)


def tune_postprocessing(
    runs: Annotated[list[Path], typer.Argument(help="Run folders: one fold, or all of a cross-validation.")],
    output: Annotated[Path | None, typer.Option(help="YAML to write, for a pipeline's include.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Make it the post-processing of the runs' models.")] = False,
    thresholds: Annotated[
        bool | None,
        typer.Option("--thresholds/--no-thresholds", help="Try thresholds too; by default up to 8 classes."),
    ] = None,
    min_gain: Annotated[float, typer.Option(min=0.0, help="Smallest gain in mean Dice worth a step.")] = 0.001,
    device: Annotated[Device, typer.Option(help="Where it runs.")] = Device.AUTO,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Choose post-processing on the runs' validation studies, and say what each step gained."""
    from rich.console import Console

    from medseg.files import atomic_path
    from medseg.reports.progress import Display
    from medseg.reports.tuning import tuning_table
    from medseg.runs.tune import as_yaml, write_into_model
    from medseg.runs.tune import tune_postprocessing as choose

    tuning = choose(runs, thresholds=thresholds, min_gain=min_gain, device=device.value, display=Display(quiet=quiet))
    Console().print(tuning_table(tuning))
    text = as_yaml(tuning.section)
    print(text, end="")
    if output:
        with atomic_path(output) as path:
            path.write_text(text)
        print(f"written: {output}")
    for run_folder in runs if write else ():
        print(f"written: {write_into_model(run_folder, tuning)}")


def _model_folder(model: str) -> Path:
    from medseg.tracking.registry import download_model, is_model_uri

    return download_model(model) if is_model_uri(model) else Path(model).absolute()
