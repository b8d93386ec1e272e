"""Folds as children of one run, and the numbers over them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.config.schema import PipelineConfig
from medseg.errors import ConfigError
from medseg.evaluation.results import Evaluation
from medseg.evaluation.scores import score_arrays
from medseg.reports.progress import Display
from medseg.runs.cross_validation import cross_validate, over_folds

Config = Callable[..., PipelineConfig]
QUIET = Display(quiet=True)


class TestCrossValidation:
    def test_two_folds_are_children_of_one_run_with_the_mean_over_folds(
        self, phantoms: Path, tiny_config: Config, tracking_uri: str, mlflow_client: Any, tmp_path: Path
    ) -> None:
        text = (phantoms / "manifest.csv").read_text()
        for fold in ("2", "3"):
            text = text.replace(f",{fold},images", f",{int(fold) - 2},images")
        (tmp_path / "two.csv").write_text(text)
        overrides = [
            f"data.manifest={tmp_path / 'two.csv'}",
            "training.epochs=1",
            f"tracking={{uri: '{tracking_uri}'}}",
        ]
        results = cross_validate(tiny_config("name=crossed", *overrides), display=QUIET)
        assert [r.split for r in results] == ["validation", "validation"]
        validated = [[s.study_id for s in r.evaluation.scores] for r in results if r.evaluation]
        assert validated == [["phantom_000", "phantom_002"], ["phantom_001", "phantom_003"]]
        assert [r.folder.run_id.rpartition("-")[2] for r in results] == ["fold0", "fold1"]

        experiment = mlflow_client.get_experiment_by_name("crossed")
        records = {r.info.run_id: r for r in mlflow_client.search_runs([experiment.experiment_id])}
        children = [records.pop(r.tracker.run_id) for r in results]
        (parent,) = records.values()
        assert [c.data.tags["mlflow.parentRunId"] for c in children] == [parent.info.run_id] * 2
        assert [c.data.tags["fold"] for c in children] == ["0", "1"]
        dice = [c.data.metrics["validation/dice/liver"] for c in children]
        assert parent.data.metrics["cv/dice/liver"] == pytest.approx(sum(dice) / 2)
        assert parent.data.metrics["cv/dice_sd/liver"] == pytest.approx(abs(dice[0] - dice[1]) / 2**0.5)
        assert parent.info.status == "FINISHED"
        (together,) = (tmp_path / "runs" / "crossed").glob("*-cv")
        assert all(f"phantom_00{n}" in (together / "report.html").read_text() for n in range(4))

    def test_torchrun_is_refused(self, tiny_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(ConfigError, match="every fold by itself"):
            cross_validate(tiny_config(), display=QUIET)

    def test_every_aggregate_gets_its_mean_and_sd_over_the_folds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        nan = float("nan")
        folds = [
            {"cv/dice/liver": 0.8, "cv/dice_sd/liver": 0.1, "cv/hd95_mm/liver": 4.0, "cv/studies": 3.0, "cv/miou": nan},
            {"cv/dice/liver": 0.9, "cv/dice_sd/liver": 0.3, "cv/hd95_mm/liver": nan, "cv/studies": 2.0, "cv/miou": nan},
            {"cv/dice/liver": 1.0, "cv/dice_median/liver": 0.3, "cv/hd95_mm/liver": 8.0, "cv/studies": 2.0},
        ]
        monkeypatch.setattr("medseg.reports.review.aggregates", lambda fold, split: folds[fold])
        assert over_folds([0, 1, 2]) == pytest.approx(  # type: ignore[list-item]
            {
                "cv/dice/liver": 0.9,
                "cv/dice_sd/liver": 0.1,  # sqrt((0.01 + 0 + 0.01) / 2)
                "cv/hd95_mm/liver": 6.0,
                "cv/hd95_mm_sd/liver": 8**0.5,  # of two folds: sqrt((4 + 4) / 1)
                "cv/studies": 7.0,
            }
        )

    def test_spread_needs_two_folds(self) -> None:
        assert over_folds([]) == {}
        mask = np.zeros((6, 6, 6), np.uint8)
        mask[2:4, 2:4, 2:4] = 1
        one = Evaluation(tuple(score_arrays(name, mask, mask, ("liver",), np.eye(4)) for name in "ab"))
        assert not [name for name in over_folds([one]) if "_sd" in name]
        assert over_folds([one, one])["cv/dice_sd/liver"] == 0.0
