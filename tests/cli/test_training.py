"""`run`, `train` and `check`."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg.cli import training
from medseg.config.schema import PipelineConfig
from medseg.reports.progress import Display
from tests.cli.ended import Medseg


class TestCheck:
    def test_good_pipeline_is_a_table_and_a_count(self, medseg: Medseg, tiny: Path) -> None:
        ended = medseg("check", tiny)
        assert ended.code == 0
        assert "6 studies (3 train, 1 validate, 2 test): 0 errors" in ended.out
        assert re.search(r"phantom_000 .*3,521 +189", ended.out)

    def test_headers_only_reads_no_voxels(self, medseg: Medseg, tiny: Path) -> None:
        assert re.search(r"phantom_000 .* - +- *$", medseg("check", tiny, "--headers-only").out, re.M)

    def test_every_broken_study_is_named_and_the_code_is_1(
        self, medseg: Medseg, tiny: Path, phantoms: Path, tmp_path: Path
    ) -> None:
        folder = tmp_path / "damaged"
        shutil.copytree(phantoms, folder)
        image = folder / "images" / "phantom_001.nii.gz"
        image.write_bytes(image.read_bytes()[:2000])
        shutil.copy(folder / "labels" / "phantom_000.nii.gz", folder / "labels" / "phantom_003.nii.gz")
        ended = medseg("check", tiny, f"data.manifest={folder / 'manifest.csv'}", f"data.root={folder}")
        assert ended.code == 1
        assert re.search(r"^error: phantom_001: ", ended.out, re.M)
        assert re.search(r"^error: phantom_003: .*grid", ended.out, re.M)
        assert "2 errors" in ended.out

    def test_label_values_that_nothing_names_are_found(self, medseg: Medseg, tiny: Path) -> None:
        tiny.write_text(tiny.read_text().replace("labels: {liver: 1, tumour: 2}", "labels: {liver: 1}"))
        ended = medseg("check", tiny)
        assert ended.code == 1
        assert "2" in re.search(r"^error: phantom_000: (.*)$", ended.out, re.M)[1]  # type: ignore[index]


class TestRun:
    def test_train_then_run_resumed_then_complete(self, medseg: Medseg, tiny: Path, tmp_path: Path) -> None:
        trained = medseg("train", tiny, "training.epochs=1")
        assert trained.code == 0
        folder = re.search(r"^run folder: (.*)$", trained.out, re.M)[1]  # type: ignore[index]
        assert Path(folder).parent == tmp_path / "runs" / "tiny"
        done = medseg("run", tiny, "training.epochs=1", "--resume", folder)
        assert done.code == 0
        assert "test studies, each scored on its own grid:" in done.out
        assert re.search(r"liver +Dice", done.out)
        assert f"run folder: {folder}" in done.out
        assert "medseg ui" not in done.out
        assert "is complete" in medseg("run", tiny, "training.epochs=1", "--resume", "last").err

    def test_failed_study_gives_code_1(self, medseg: Medseg, tiny: Path, phantoms: Path, tmp_path: Path) -> None:
        folder = tmp_path / "damaged"
        shutil.copytree(phantoms, folder)
        image = folder / "images" / "phantom_005.nii.gz"
        image.write_bytes(image.read_bytes()[:2000])
        overrides = [f"data.manifest={folder / 'manifest.csv'}", f"data.root={folder}", "training.epochs=1"]
        ended = medseg("run", tiny, *overrides)
        assert ended.code == 1
        assert "1 failed, not scored (reasons above): phantom_005" in ended.err

    def test_cross_validation_prints_the_mean_over_the_folds(
        self, medseg: Medseg, tiny: Path, phantoms: Path, tmp_path: Path
    ) -> None:
        lines = (phantoms / "manifest.csv").read_text().splitlines(keepends=True)
        (tmp_path / "two.csv").write_text("".join(lines[:3]))
        ended = medseg("run", tiny, f"data.manifest={tmp_path / 'two.csv'}", "training.epochs=1", "--cross-validate")
        assert ended.code == 0
        assert ended.out.count("validation studies, each scored on its own grid") == 2
        assert re.search(r"^cv/dice/liver +\d\.\d{4}$", ended.out, re.M)
        assert re.search(r"^cv/dice_sd/liver +\d\.\d{4}$", ended.out, re.M)

    def test_other_ranks_print_no_result(self, tiny_config: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        training._print_result(None, tiny_config())  # type: ignore[arg-type]
        assert capsys.readouterr().out == ""


class TestSigterm:
    """The signal is sent by the training itself, at a known step, so that nothing depends on the clock."""

    @pytest.fixture
    def config(self, tiny: Path, tracking_uri: str) -> list[object]:
        return [tiny, "name=stopped", "training.epochs=3", f"tracking={{uri: '{tracking_uri}'}}"]

    def test_training_saves_and_stops_with_143_and_goes_on_in_the_same_run(
        self,
        medseg: Medseg,
        config: list[object],
        tiny_config: Callable[..., PipelineConfig],
        mlflow_client: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from medseg.training.checkpoint import load_checkpoint

        plain = Display.advance

        def advance(self: Display, note: str = "", *, completed: int | None = None) -> None:
            plain(self, note, completed=completed)
            if completed == 5:
                os.kill(os.getpid(), signal.SIGTERM)

        with monkeypatch.context() as patched:
            patched.setattr(Display, "advance", advance)
            ended = medseg("run", *config)
        assert ended.code == 143
        assert "stopped by SIGTERM; go on with --resume" in ended.out
        folder = Path(re.search(r"--resume (.*)$", ended.out.strip())[1])  # type: ignore[index]
        assert load_checkpoint(folder / "checkpoints" / "last.ckpt")[1].step == 5
        assert not (folder / "model").exists()
        run_id = json.loads((folder / "tracking.json").read_text())["run_id"]
        record = mlflow_client.get_run(run_id)
        assert (record.info.status, record.data.tags["medseg.failure"]) == ("KILLED", "stopped by SIGTERM")

        assert medseg("run", *config, "--resume", folder).code == 0
        record = mlflow_client.get_run(run_id)
        assert (record.info.status, "medseg.failure" in record.data.tags) == ("FINISHED", False)
        assert [m.step for m in mlflow_client.get_metric_history(run_id, "train/loss")] == [1, 2, 3]
        assert (folder / "evaluation.csv").is_file()
