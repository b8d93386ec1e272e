"""A run that has begun, without training anything."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from medseg.config.schema import PipelineConfig
from medseg.reports.progress import Display
from medseg.runs.folder import new_run
from medseg.runs.run import Run
from medseg.runs.studies import load_studies
from medseg.tracking import NoTracker, Tracker


@pytest.fixture
def begin() -> Callable[..., Run]:
    """``begin(config, tracker)``: a run in a new folder, with all studies of its manifest."""
    import torch

    from medseg.training.distributed import ALONE

    def make(config: PipelineConfig, tracker: Tracker | None = None) -> Run:
        studies, splits = load_studies(config)
        quiet, cpu = Display(quiet=True), torch.device("cpu")
        return Run(config, new_run(config), tuple(studies), splits, tracker or NoTracker(), quiet, cpu, ALONE)

    return make
