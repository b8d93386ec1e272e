"""The command line: argument parsing and printing only; every command is one call into the package."""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.errors import ConfigError, MedsegError
from medseg.version import __version__

if TYPE_CHECKING:
    from medseg.config.schema import PipelineConfig
    from medseg.inference.record import Outcome
    from medseg.run import RunResult

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Train and run semantic segmentation of CT studies from one YAML.",
)


class Device(StrEnum):
    """Choices of ``--device``."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Uncertainty(StrEnum):
    """Choices of ``--uncertainty``."""

    NONE = "none"
    ENTROPY = "entropy"
    DISAGREEMENT = "disagreement"


class Backend(StrEnum):
    """Choices of ``--backend``."""

    TORCH = "torch"
    OPENVINO = "openvino"


class Engine(StrEnum):
    """Choices of ``--engine``."""

    LOCAL = "local"
    RAY = "ray"


Pipeline = Annotated[Path, typer.Argument(help="A pipeline YAML.", metavar="PIPELINE.yaml")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Overrides such as training.epochs=50.", metavar="[KEY=VALUE]...")
]
Resume = Annotated[
    str | None, typer.Option("--resume", help="Go on with a run: its folder, or 'last' for the pipeline's newest.")
]


@app.command()
def run(
    pipeline: Pipeline,
    overrides: Overrides = None,
    resume: Resume = None,
    cross_validate: Annotated[bool, typer.Option("--cross-validate", help="Every fold, under one MLflow run.")] = False,
) -> None:
    """Train, segment, evaluate and record a pipeline."""
    from medseg import run as stages

    if resume and cross_validate:
        raise ConfigError("--resume goes on with one run: give it without --cross-validate, and the fold's run folder")
    config = _load(pipeline, overrides)
    if cross_validate:
        results = stages.cross_validate(config)
        evaluations = [r.evaluation for r in results if r.evaluation]
        for result in results:
            _print_result(result, config)
        for name, value in stages.over_folds(evaluations).items():
            print(f"{name:<28}{value:.4f}")
        _exit_if_stopped(results[-1])
        return
    result = stages.run(config, resume=resume)
    _print_result(result, config)
    _exit_if_stopped(result)


@app.command()
def train(pipeline: Pipeline, overrides: Overrides = None, resume: Resume = None) -> None:
    """Train only; writes checkpoints and the model folder."""
    from medseg import run as stages

    config = _load(pipeline, overrides)
    result = stages.run(config, resume=resume, train_only=True)
    _print_result(result, config)
    _exit_if_stopped(result)


@app.command()
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
    masks: Annotated[bool, typer.Option("--masks", help="Write a mask for each class, too.")] = False,
    dicom_seg: Annotated[bool, typer.Option("--dicom-seg", help="Write DICOM-SEG where the input is DICOM.")] = False,
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
    backend: Annotated[Backend, typer.Option(help="What runs the network.")] = Backend.TORCH,
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
    again: Annotated[bool, typer.Option("--again", help="Segment what is done already, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON line a study and one for all.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Segment studies, each on its own grid; a broken one never stops the others, and a second run goes on."""
    from medseg.inference import batch
    from medseg.inference.model import load_segmenter, model_classes
    from medseg.inference.outputs import Outputs, write_outputs
    from medseg.inference.segmenter import Wanted
    from medseg.reports.batch_progress import BatchDisplay, batch_summary, summary_lines
    from medseg.study.inputs import find_inputs
    from medseg.training.signals import interrupt_on_sigterm

    folders = [_model_folder(name) for name in model]
    coarse = _model_folder(locate) if locate else None
    outputs = Outputs(document, masks, dicom_seg, tuple(lesions or ()))
    outputs.require(model_classes(folders[0]))
    wanted = Wanted(tuple(probabilities or ()), uncertainty.value)
    inputs = find_inputs(input, root, exclude=output)
    inputs = batch.shard(inputs, shard) if shard else inputs
    load = partial(
        load_segmenter,
        folders,
        device.value,
        wanted=wanted,
        backend=backend.value,
        memory_gib=memory_gib,
        coarse=coarse,
    )
    in_process = engine is Engine.LOCAL and (workers or 1) == 1
    settings = {"outputs": asdict(outputs), "wanted": asdict(wanted), "backend": backend.value, "gib": memory_gib}
    display = BatchDisplay(len(inputs), quiet=quiet)

    def on_done(outcome: Outcome) -> None:
        display.done(outcome)
        if as_json:
            print(json.dumps(asdict(outcome)), flush=True)

    started = time.monotonic()
    try:
        with interrupt_on_sigterm(), display:
            outcomes = batch.segment_studies(
                load() if in_process else load,
                inputs,
                output,
                write=partial(write_outputs, wanted=outputs, model=batch.fingerprint(folders, {})[:16]),
                fingerprint=batch.fingerprint([*folders, *([coarse] if coarse else [])], settings),
                again=again,
                largest_first=largest_first,
                workers=workers or (0 if engine is Engine.RAY else 1),
                engine=engine.value,
                on_stage=display.stage,
                on_done=on_done,
            )
    except KeyboardInterrupt as interrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        raise typer.Exit(143 if str(interrupt) == "SIGTERM" else 130) from None
    summary = batch_summary(outcomes, time.monotonic() - started, output / batch.RECORD)
    print(json.dumps(summary) if as_json else "\n".join(summary_lines(summary)))
    if summary["failed"]:
        raise typer.Exit(1)


@app.command()
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
    _print_scores(evaluation)
    print(f"scores: {output}, {output.with_suffix('.json')}")
    if evaluation.failures:
        raise typer.Exit(1)


@app.command("tune-postprocessing")
def tune_postprocessing(
    runs: Annotated[list[Path], typer.Argument(help="Run folders: one fold, or all of a cross-validation.")],
    output: Annotated[Path | None, typer.Option(help="YAML to write, for a pipeline's include.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Make it the post-processing of the runs' models.")] = False,
    min_gain: Annotated[float, typer.Option(min=0.0, help="Smallest gain in mean Dice worth a step.")] = 0.001,
    device: Annotated[Device, typer.Option(help="Where it runs.")] = Device.AUTO,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Choose post-processing on the runs' validation studies, and say what each step gained."""
    from rich.console import Console

    from medseg.files import atomic_path
    from medseg.reports.progress import Display
    from medseg.reports.tuning import tuning_table
    from medseg.tune import as_yaml, write_into_model
    from medseg.tune import tune_postprocessing as choose

    tuning = choose(runs, min_gain=min_gain, device=device.value, display=Display(quiet=quiet))
    Console().print(tuning_table(tuning))
    text = as_yaml(tuning.section)
    print(text, end="")
    if output:
        with atomic_path(output) as path:
            path.write_text(text)
        print(f"written: {output}")
    for run_folder in runs if write else ():
        print(f"written: {write_into_model(run_folder, tuning.section)}")


@app.command()
def networks(
    size: Annotated[
        list[int] | None, typer.Argument(min=1, metavar="[I J [K]]", help="Voxels of --patch.", show_default=False)
    ] = None,
    patch: Annotated[
        bool, typer.Option("--patch", help="MACs and receptive field: --patch 128 128 64 in 3D, --patch 512 512 in 2D.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="All about one network, its options too.")] = None,
    small: Annotated[bool, typer.Option("--small", help="The small forms, as tests run them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with exact counts.")] = False,
    in_channels: Annotated[int, typer.Option(min=1, help="Channels of the image.")] = 1,
    num_classes: Annotated[int, typer.Option(min=2, help="Classes including background.")] = 2,
) -> None:
    """List the networks: paper, encoders, parameters and, for a patch, MACs and receptive field."""
    from rich.console import Console

    from medseg.networks.option_rows import option_rows
    from medseg.networks.table import network_row, table
    from medseg.reports.listings import network_document, network_page, network_table

    if patch != bool(size) or (size and len(size) not in (2, 3)):
        raise ConfigError(f"--patch: expected two or three sizes, as in --patch 128 128 64, found {size or 'none'}")
    with Console(stderr=True).status("counting"):
        if name:
            rows = [network_row(name, in_channels, num_classes, patch_size=size, small=small)]
        else:
            rows = table(in_channels, num_classes, patch_size=size, small=small)
    options = option_rows(name) if name else None
    if as_json:
        documents = [network_document(row, options) for row in rows]
        print(json.dumps(documents[0] if name else documents, indent=1))
    elif options is not None:
        Console().print(network_page(rows[0], options))
    else:
        Console().print(network_table(rows))


@app.command()
def phantom(
    output: Annotated[Path, typer.Option(help="Folder for images/, labels/ and manifest.csv.")],
    studies: Annotated[int, typer.Option(min=1, help="How many.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal studies.")] = 0,
) -> None:
    """Make CT-like phantoms with liver and tumours to try everything on."""
    from medseg.study.phantom import write_phantoms

    manifest = write_phantoms(output, studies, seed)
    print(f"{studies} studies: {manifest}")


@app.command()
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


@app.command()
def check(
    pipeline: Pipeline,
    overrides: Overrides = None,
    headers_only: Annotated[bool, typer.Option("--headers-only", help="Do not read the voxels.")] = False,
) -> None:
    """Find everything that can be known before training: config, manifest, files, grids, labels."""
    from rich.console import Console

    from medseg import build
    from medseg.reports.listings import facts_table
    from medseg.run import load_studies
    from medseg.study.check import inspect_studies

    config = _load(pipeline, overrides)
    studies, splits = load_studies(config)
    seen = list(inspect_studies(studies, build.label_map_of(config), read_voxels=not headers_only))
    findings = [finding for study in seen for finding in study.findings]
    Console().print(facts_table([study.facts for study in seen if study.facts], config.label_map.names))
    for finding in findings:
        print(f"{finding.level}: {finding.study_id}: {finding.message}")
    errors = sum(f.level == "error" for f in findings)
    counts = f"{len(splits.train)} train, {len(splits.validation)} validate, {len(splits.test)} test"
    print(f"{len(studies)} studies ({counts}): {errors} errors, {len(findings) - errors} warnings")
    if errors:
        raise typer.Exit(1)


@app.command()
def schema(
    output: Annotated[Path, typer.Option(help="Folder for the two schema files.")] = Path("configs"),
) -> None:
    """Write the JSON Schemas that editors check pipeline YAMLs with."""
    from medseg.config.json_schema import write_schemas

    for path in write_schemas(output):
        print(path)


@app.command()
def ui(
    runs: Annotated[Path, typer.Option(help="The runs folder.")] = Path("runs"),
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Serve the MLflow UI on the runs, on 127.0.0.1."""
    from medseg.tracking import serve_ui

    print(f"open http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning", flush=True)
    raise typer.Exit(serve_ui(runs, port=port))


class _Terminal(logging.Handler):
    """Warnings and errors to whatever the standard error is now, so that they stand above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        print(self.format(record), file=sys.stderr)


def main() -> None:
    """Run the command line; a mistake of the user is one clear message and exit code 2, never a traceback."""
    logging.basicConfig(format="%(levelname)s: %(message)s", handlers=[_Terminal(logging.WARNING)])
    try:
        app()
    except (MedsegError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(143 if str(interrupt) == "SIGTERM" else 130)


def _version(show: bool) -> None:
    if show:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    return None


def _model_folder(model: str) -> Path:
    from medseg.tracking.registry import download_model, is_model_uri

    return download_model(model) if is_model_uri(model) else Path(model).absolute()


def _load(pipeline: Path, overrides: list[str] | None) -> PipelineConfig:
    from medseg.build import network_problems
    from medseg.config.load import load_pipeline

    return load_pipeline(pipeline, overrides or (), checks=[network_problems])


def _print_result(result: RunResult, config: PipelineConfig) -> None:
    from medseg.training.distributed import world_from_environment

    if not world_from_environment().is_main:
        return
    if result.evaluation is not None:
        print(f"\n{result.split} studies, each scored on its own grid:")
        _print_scores(result.evaluation)
    print(f"run folder: {result.folder.path}")
    if result.tracker.url:
        print(f"MLflow:     medseg ui --runs {config.runs_dir}    (or: make ui), then")
        print(f"            {result.tracker.url}")
    if result.stopped:
        print(f"stopped by {result.stopped}; go on with --resume {result.folder.path}")


def _print_scores(evaluation: object) -> None:
    from rich.console import Console

    from medseg.evaluation import Evaluation, overall, summarise
    from medseg.reports.tables import score_table

    assert isinstance(evaluation, Evaluation)
    if evaluation.scores:
        Console().print(score_table(summarise(evaluation.scores), overall(evaluation.scores)))
    if evaluation.failures:  # the reasons were said when they came up
        failed = ", ".join(failure.study_id for failure in evaluation.failures)
        print(f"{len(evaluation.failures)} failed, not scored (reasons above): {failed}", file=sys.stderr)


def _exit_if_stopped(result: RunResult) -> None:
    if result.stopped:
        raise typer.Exit(143 if result.stopped == "SIGTERM" else 130)
    if result.evaluation is not None and result.evaluation.failures:
        raise typer.Exit(1)
