"""Run ids, finding a run again, and what may differ when it goes on."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from medseg.config.load import load_pipeline
from medseg.config.schema import PipelineConfig
from medseg.errors import CheckpointError
from medseg.runs.folder import RunFolder, find_run, logged, new_run, require_same_studies
from medseg.study.manifest import read_manifest, write_manifest

Config = Callable[..., PipelineConfig]


def _with_checkpoint(folder: RunFolder) -> RunFolder:
    folder.checkpoints.mkdir()
    (folder.checkpoints / "last.ckpt").touch()
    return folder


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda form: "20260102-120000")


class TestNewRun:
    def test_folder_is_named_by_pipeline_time_and_suffix(self, tiny_config: Config, noon: None) -> None:
        config = tiny_config()
        folder = new_run(config, "-fold1")
        assert folder.path == config.runs_dir / "tiny" / "20260102-120000-fold1"
        assert folder.run_id == "20260102-120000-fold1"

    def test_runs_of_one_second_do_not_meet(self, tiny_config: Config, noon: None) -> None:
        ids = [new_run(tiny_config()).run_id for _ in range(3)]
        assert ids == ["20260102-120000", "20260102-120000-1", "20260102-120000-2"]

    def test_config_is_the_resolved_pipeline(self, tiny_config: Config) -> None:
        config = tiny_config("training.epochs=9")
        assert load_pipeline(new_run(config).config) == config

    def test_places_are_as_documented(self) -> None:
        folder = RunFolder(Path("runs/tiny/1"))
        places = (folder.config, folder.manifest, folder.checkpoints, folder.model, folder.segmentation("a"))
        assert [str(p.relative_to(folder.path)) for p in places] == [
            "config.yaml",
            "manifest.csv",
            "checkpoints",
            "model",
            "segmentations/a.nii.gz",
        ]


def test_entries_are_remembered_and_added_to(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.remembered() == {}
    folder.remember(run_id="abc")
    folder.remember(complete=True)
    assert RunFolder(tmp_path).remembered() == {"run_id": "abc", "complete": True}


class TestFindRun:
    def test_last_is_the_newest_with_a_checkpoint(self, tiny_config: Config) -> None:
        runs = [_with_checkpoint(new_run(tiny_config())) for _ in range(2)]
        new_run(tiny_config())
        assert find_run(tiny_config(), "last") == runs[1]

    def test_folder_by_its_path(self, tiny_config: Config) -> None:
        runs = [_with_checkpoint(new_run(tiny_config())) for _ in range(2)]
        assert find_run(tiny_config(), str(runs[0].path)) == runs[0]

    def test_nothing_to_resume_is_an_error_never_a_new_start(self, tiny_config: Config) -> None:
        with pytest.raises(CheckpointError, match=r"nothing to resume: .*tiny holds no run"):
            find_run(tiny_config(), "last")
        folder = new_run(tiny_config())
        with pytest.raises(CheckpointError, match=r"nothing to resume: .* has no checkpoints/last\.ckpt"):
            find_run(tiny_config(), str(folder.path))

    def test_runs_of_another_pipeline_are_not_found(self, tiny_config: Config) -> None:
        _with_checkpoint(new_run(tiny_config("name=other")))
        with pytest.raises(CheckpointError, match="nothing to resume"):
            find_run(tiny_config(), "last")


class TestOtherSettings:
    def test_all_that_differ_are_named_with_both_values(self, tiny_config: Config) -> None:
        _with_checkpoint(new_run(tiny_config()))
        with pytest.raises(CheckpointError, match="cannot be resumed with other settings") as raised:
            find_run(tiny_config("network.dropout=0.5", "data.batch_size=4", "augmentation.gamma={}"), "last")
        message = str(raised.value)
        assert "network.dropout: None then, 0.5 now" in message
        assert "data.batch_size: 2 then, 4 now" in message
        assert "augmentation.gamma.probability: None then, 0.2 now" in message
        assert "config.yaml" in message

    @pytest.mark.parametrize(
        "override",
        [
            "training.epochs=9",
            "training.max_minutes=3",
            "training.early_stopping=2",
            "training.validate_every=5",
            "training.checkpoint_every_s=1",
            "training.threads=2",
            "data.num_workers=2",
            "evaluation.split=train",
            "tracking={uri: null}",
        ],
    )
    def test_what_changes_no_weight_may_differ(self, tiny_config: Config, override: str) -> None:
        folder = _with_checkpoint(new_run(tiny_config()))
        assert find_run(tiny_config(override), "last") == folder

    @pytest.mark.parametrize("override", ["training.seed=1", "training.ema_decay=0.9", "preprocessing.spacing_mm=null"])
    def test_what_changes_weights_may_not(self, tiny_config: Config, override: str) -> None:
        _with_checkpoint(new_run(tiny_config()))
        with pytest.raises(CheckpointError, match=override.partition("=")[0]):
            find_run(tiny_config(override), "last")

    def test_complete_run_goes_on_only_if_it_is_given_more_to_do(self, tiny_config: Config) -> None:
        folder = _with_checkpoint(new_run(tiny_config()))
        folder.remember(complete=True)
        with pytest.raises(CheckpointError, match=r"is complete; raise training\.epochs or training\.max_minutes"):
            find_run(tiny_config(), "last")
        assert find_run(tiny_config("training.epochs=9"), "last") == folder


class TestSameStudies:
    def test_same_manifest_is_accepted_wherever_it_lies(self, tmp_path: Path, phantoms: Path) -> None:
        studies = read_manifest(phantoms / "manifest.csv", phantoms)
        write_manifest(tmp_path / "manifest.csv", studies, phantoms)
        require_same_studies(RunFolder(tmp_path), studies, phantoms)  # raises if they differ
        assert read_manifest(tmp_path / "manifest.csv", phantoms) == studies

    def test_other_studies_or_folds_are_refused(self, tmp_path: Path, phantoms: Path) -> None:
        studies = read_manifest(phantoms / "manifest.csv", phantoms)
        write_manifest(tmp_path / "manifest.csv", studies, phantoms)
        moved = [replace(studies[0], fold="3"), *studies[1:]]
        for changed in (studies[1:], moved):
            with pytest.raises(
                CheckpointError, match=rf"manifest has changed since \(6 studies then, {len(changed)} now"
            ):
                require_same_studies(RunFolder(tmp_path), changed, phantoms)


class TestLog:
    def _lines(self, folder: RunFolder) -> list[dict[str, object]]:
        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON")

        text = (folder.path / "log.jsonl").read_text()
        return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]

    def test_records_of_the_block_are_lines_of_json(self, tmp_path: Path) -> None:
        folder, logger = RunFolder(tmp_path), logging.getLogger("medseg.test")
        logger.warning("before")
        with logged(folder):
            logger.info("epoch %d", 3, extra={"facts": {"train/loss": 0.5, "val/dice/tumour": float("nan")}})
            logging.getLogger("elsewhere").error("not ours")
        logger.warning("after")
        with logged(folder):
            logger.error("resumed")
        first, second = self._lines(folder)
        assert (first["level"], first["message"]) == ("INFO", "epoch 3")
        assert (first["train/loss"], first["val/dice/tumour"]) == (0.5, None)
        assert (second["level"], second["message"]) == ("ERROR", "resumed")

    def test_logger_is_left_as_it_was_also_after_an_error(self, tmp_path: Path) -> None:
        logger = logging.getLogger("medseg")
        before = logger.level, list(logger.handlers)

        def fail() -> None:
            with logged(RunFolder(tmp_path)):
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert (logger.level, logger.handlers) == before

    def test_other_processes_write_no_log(self, tmp_path: Path) -> None:
        with logged(RunFolder(tmp_path), main=False):
            logging.getLogger("medseg").error("of another rank")
        assert list(tmp_path.iterdir()) == []
