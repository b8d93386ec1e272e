"""What every stage finds in a run."""

from __future__ import annotations

from collections.abc import Callable

from medseg.config.schema import PipelineConfig
from medseg.runs.run import Run
from medseg.types import LabelMap


def test_a_run_knows_its_model_and_its_label_values(
    tiny_config: Callable[..., PipelineConfig], begin: Callable[..., Run]
) -> None:
    run = begin(tiny_config("labels={liver: 2, tumour: 1}"))
    assert run.spec.classes.names == ("liver", "tumour")
    assert run.spec is run.spec  # made once
    assert run.label_map_of(run.studies[0]) == LabelMap({"liver": (2,), "tumour": (1,)})
    assert run.segmentation_map == LabelMap({"liver": (1,), "tumour": (2,)})
    assert {s.study_id for s in (*run.splits.train, *run.splits.validation, *run.splits.test)} == {
        s.study_id for s in run.studies
    }
