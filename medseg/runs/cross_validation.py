"""Every fold of a manifest as a run of its own, under one that holds them together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from medseg.config.schema import PipelineConfig
from medseg.errors import ConfigError
from medseg.reports.progress import Display
from medseg.runs.recording import record_folds
from medseg.runs.stages import RunResult, begun, run
from medseg.runs.studies import load_studies
from medseg.tracking.records import Metrics, Params

if TYPE_CHECKING:
    from medseg.evaluation.results import Evaluation


def cross_validate(config: PipelineConfig, *, display: Display | None = None) -> list[RunResult]:
    """Run every fold of the manifest as a child of one MLflow run, which gets the mean and sd over the folds.

    Raises:
        ConfigError: under torchrun: the folds would wait for each other.
        MedsegError: see ``stages.run``.
    """
    from medseg.training.distributed import world_from_environment

    if world_from_environment().size > 1:
        raise ConfigError("--cross-validate runs in one process; under torchrun start every fold by itself")
    studies, _ = load_studies(config)
    results: list[RunResult] = []
    with begun(config, suffix="-cv", display=display) as together:
        tracker = together.tracker
        tracker.note(Params(config.model_dump(mode="json")))
        for fold in sorted({int(s.fold) for s in studies if s.fold.isdigit()}):
            results.append(run(_of_fold(config, fold), parent=tracker.key, suffix=f"-fold{fold}", display=display))
            if results[-1].stopped:
                tracker.finish("KILLED", f"fold {fold} was stopped by {results[-1].stopped}")
                return results
        folds = [(r.folder, r.evaluation) for r in results if r.evaluation]
        tracker.note(Metrics(over_folds([evaluation for _, evaluation in folds]), step=0))
        record_folds(together, folds)
        tracker.finish("FINISHED")
    return results


def _of_fold(config: PipelineConfig, fold: int) -> PipelineConfig:
    data, evaluation = replace(config.data, fold=fold), replace(config.evaluation, split="validation")
    return config.model_copy(update={"data": data, "evaluation": evaluation})


def over_folds(evaluations: Sequence[Evaluation]) -> dict[str, float]:
    """Mean and sd over the folds of every aggregate that a fold records: ``cv/dice/liver``, ``cv/dice_sd/liver`` ...

    Numbers of studies are summed: each is in one fold. A fold's own spreads and medians over its studies are left out.
    A fold that lacks a label does not count for it; an sd needs two that have it.
    """
    from medseg.reports.review import aggregates

    values: dict[str, list[float]] = {}
    for evaluation in evaluations:
        for name, value in aggregates(evaluation, "cv").items():
            if not name.split("/")[1].endswith(_OF_ONE_FOLD) and not math.isnan(value):
                values.setdefault(name, []).append(value)
    totals = {name: sum(values.pop(name)) for name in list(values) if name.split("/")[1].endswith("studies")}
    means = {name: statistics.fmean(scores) for name, scores in values.items()}
    spreads = {_spread_name(name): statistics.stdev(scores) for name, scores in values.items() if len(scores) > 1}
    return means | spreads | totals


_OF_ONE_FOLD = ("_sd", "_median", "_q1", "_q3", "_low", "_high")
"""How the names of aggregates end that describe the studies of one fold among themselves."""


def _spread_name(name: str) -> str:
    prefix, score, *label = name.split("/")
    return "/".join((prefix, f"{score}_sd", *label))
