"""``medseg run``, ``train`` and ``check``: everything that begins with a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.arguments import Overrides, Pipeline, Resume
from medseg.cli.scoring import print_scores
from medseg.errors import ConfigError

if TYPE_CHECKING:
    from medseg.config.schema import PipelineConfig
    from medseg.runs.stages import RunResult


def run(
    pipeline: Pipeline,
    overrides: Overrides = None,
    resume: Resume = None,
    cross_validate: Annotated[bool, typer.Option("--cross-validate", help="Every fold, under one MLflow run.")] = False,
) -> None:
    """Train, segment, evaluate and record a pipeline."""
    from medseg.runs.cross_validation import cross_validate as run_folds
    from medseg.runs.cross_validation import over_folds
    from medseg.runs.stages import run as run_once

    if resume and cross_validate:
        raise ConfigError("--resume goes on with one run: give it without --cross-validate, and the fold's run folder")
    config = _load(pipeline, overrides)
    if cross_validate:
        results = run_folds(config)
        evaluations = [r.evaluation for r in results if r.evaluation]
        for result in results:
            _print_result(result, config)
        for name, value in over_folds(evaluations).items():
            print(f"{name:<28}{value:.4f}")
        _exit_if_stopped(results[-1])
        return
    result = run_once(config, resume=resume)
    _print_result(result, config)
    _exit_if_stopped(result)


def train(pipeline: Pipeline, overrides: Overrides = None, resume: Resume = None) -> None:
    """Train only; writes checkpoints and the model folder."""
    from medseg.runs.stages import run as run_once

    config = _load(pipeline, overrides)
    result = run_once(config, resume=resume, train_only=True)
    _print_result(result, config)
    _exit_if_stopped(result)


def check(
    pipeline: Pipeline,
    overrides: Overrides = None,
    headers_only: Annotated[bool, typer.Option("--headers-only", help="Do not read the voxels.")] = False,
) -> None:
    """Find everything that can be known before training: config, manifest, files, grids, labels."""
    from rich.console import Console

    from medseg.reports.listings import facts_table
    from medseg.runs.studies import label_map_of, load_studies
    from medseg.study.check import inspect_studies

    config = _load(pipeline, overrides)
    studies, splits = load_studies(config)
    seen = list(inspect_studies(studies, label_map_of(config), read_voxels=not headers_only))
    findings = [finding for study in seen for finding in study.findings]
    Console().print(facts_table([study.facts for study in seen if study.facts], config.label_map.names))
    for finding in findings:
        print(f"{finding.level}: {finding.study_id}: {finding.message}")
    errors = sum(f.level == "error" for f in findings)
    counts = f"{len(splits.train)} train, {len(splits.validation)} validate, {len(splits.test)} test"
    print(f"{len(studies)} studies ({counts}): {errors} errors, {len(findings) - errors} warnings")
    if errors:
        raise typer.Exit(1)


def _load(pipeline: Path, overrides: list[str] | None) -> PipelineConfig:
    from medseg.config.load import load_pipeline
    from medseg.runs.network_problems import network_problems

    return load_pipeline(pipeline, overrides or (), checks=[network_problems])


def _print_result(result: RunResult, config: PipelineConfig) -> None:
    from medseg.training.distributed import world_from_environment

    if not world_from_environment().is_main:
        return
    if result.evaluation is not None:
        print(f"\n{result.split} studies, each scored on its own grid:")
        print_scores(result.evaluation)
    print(f"run folder: {result.folder.path}")
    if result.tracker.url:
        print(f"MLflow:     medseg ui --runs {config.runs_dir}    (or: make ui), then")
        print(f"            {result.tracker.url}")
    elif config.tracking != "none":
        print(f"MLflow:     medseg track-upload {result.folder.path}    sends what it has not yet")
    if result.stopped:
        print(f"stopped by {result.stopped}; go on with --resume {result.folder.path}")


def _exit_if_stopped(result: RunResult) -> None:
    if result.stopped:
        raise typer.Exit(143 if result.stopped == "SIGTERM" else 130)
    if result.evaluation is not None and result.evaluation.failures:
        raise typer.Exit(1)
