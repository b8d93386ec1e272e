"""Whole runs, in this process, on tiny phantoms: what they leave behind, and what happens when something is wrong."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medseg.config.load import load_pipeline
from medseg.config.schema import PipelineConfig
from medseg.errors import CheckpointError, ManifestError
from medseg.inference.load import load_segmenter
from medseg.reports.progress import Display
from medseg.runs import stages
from medseg.runs.stages import RunResult, run
from medseg.runs.tune import tune_postprocessing
from medseg.study.load import load_study
from medseg.study.manifest import read_manifest, write_manifest
from medseg.training.checkpoint import load_checkpoint
from medseg.types import LabelMap, Volume
from tests.study.every_format import write_study

Config = Callable[..., PipelineConfig]
QUIET = Display(quiet=True)


@dataclass(frozen=True)
class _Tracked:
    """A finished run and what MLflow has of it."""

    config: PipelineConfig
    result: RunResult
    record: Any
    client: Any

    def artifacts(self, folder: str = "") -> set[str]:
        return {entry.path for entry in self.client.list_artifacts(self.record.info.run_id, folder or None)}


@pytest.fixture(scope="module")
def tracked(
    tmp_path_factory: pytest.TempPathFactory, write_tiny: Callable[[Path], Path], tracking_uri: str
) -> _Tracked:
    """One run with all its stages, recorded; the tests below look at different sides of it."""
    import mlflow

    overrides = [
        "name=whole",
        f"tracking={{uri: '{tracking_uri}', tags: {{ward: radiology}}}}",
        "training.ema_decay=0.5",
    ]
    config = load_pipeline(write_tiny(tmp_path_factory.mktemp("tracked")), overrides)
    result = run(config, display=QUIET)
    client = mlflow.MlflowClient(tracking_uri=tracking_uri)
    return _Tracked(config, result, client.get_run(result.tracker.run_id), client)


class TestWholeRun:
    def test_run_folder_is_laid_out_as_documented(self, tracked: _Tracked) -> None:
        path = tracked.result.folder.path
        assert path.parent == tracked.config.runs_dir / "whole"
        found = {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()}
        expected = {"config.yaml", "manifest.csv", "tracking.json", "log.jsonl", "curves.png"}
        expected |= {"checkpoints/last.ckpt", "checkpoints/best.ckpt", "model/weights.safetensors", "model/model.json"}
        expected |= {f"segmentations/phantom_00{n}.nii.gz" for n in (4, 5)} | {"evaluation.csv", "evaluation.json"}
        assert expected <= found
        assert not [name for name in found if "/." in f"/{name}"], "temporary files were left"

    def test_test_studies_are_scored_with_a_row_a_study_and_label(self, tracked: _Tracked) -> None:
        assert (tracked.result.split, tracked.result.stopped) == ("test", "")
        rows = list(csv.DictReader((tracked.result.folder.path / "evaluation.csv").open()))
        assert [(row["study_id"], row["label"]) for row in rows] == [
            (f"phantom_00{n}", label) for n in (4, 5) for label in ("liver", "tumour")
        ]
        assert [int(row["reference_voxels"]) for row in rows] == [2633, 55, 3021, 348]

    def test_manifest_of_the_run_has_the_folds_that_were_used(self, tracked: _Tracked) -> None:
        root = tracked.config.data.root
        studies = read_manifest(tracked.result.folder.manifest, root)
        assert [s.fold for s in studies] == ["0", "1", "2", "3", "test", "test"]

    def test_log_has_a_line_an_epoch(self, tracked: _Tracked) -> None:
        lines = [json.loads(line) for line in (tracked.result.folder.path / "log.jsonl").read_text().splitlines()]
        assert [line["epoch"] for line in lines if line["message"].startswith("epoch")] == [1, 2]

    def test_model_is_the_best_validated_average(self, tracked: _Tracked) -> None:
        tensors, best = load_checkpoint(tracked.result.folder.checkpoints / "best.ckpt")
        _, last = load_checkpoint(tracked.result.folder.checkpoints / "last.ckpt")
        assert best.best_score == max(row["score"] for row in last.history)
        weights = load_segmenter(tracked.result.folder.path, "cpu").network.state_dict()
        assert all(torch.equal(weights[name], value) for name, value in tensors["network"].items())

    def test_mlflow_run_is_finished_and_remembered(self, tracked: _Tracked) -> None:
        record, folder = tracked.record, tracked.result.folder
        assert record.info.status == "FINISHED"
        assert record.info.run_name == folder.run_id
        assert folder.remembered() == {"run_id": record.info.run_id, "complete": True}
        tags = record.data.tags
        assert tags["network"] == "unet"
        assert tags["ward"] == "radiology"
        assert tags["medseg.ended_by"] == "last epoch"
        assert "medseg.failure" not in tags

    def test_mlflow_has_the_settings_as_parameters(self, tracked: _Tracked) -> None:
        params = tracked.record.data.params
        assert params["training.epochs"] == "2"
        assert params["data.patch_size"] == "[16, 16, 16]"
        assert params["network.channels"] == "[4, 8]"

    def test_mlflow_has_curves_a_step_an_epoch(self, tracked: _Tracked) -> None:
        for name in ("train/loss", "train/dice", "learning_rate", "epoch_s", "val/dice/liver", "val/iou/tumour"):
            history = tracked.client.get_metric_history(tracked.record.info.run_id, name)
            assert [metric.step for metric in history] == [1, 2], name

    def test_mlflow_has_the_scores_of_the_end(self, tracked: _Tracked) -> None:
        metrics = tracked.record.data.metrics
        evaluation = tracked.result.evaluation
        assert evaluation is not None
        dice = [study.rows[0].dice for study in evaluation.scores]
        assert metrics["test/dice/liver"] == pytest.approx(sum(dice) / 2)
        assert {"test/iou/liver", "test/dice_sd/tumour", "test/miou", "best/dice", "training_s"} <= metrics.keys()
        assert metrics["test/studies"] == 2

    def test_mlflow_has_the_files(self, tracked: _Tracked) -> None:
        expected = {"config.yaml", "manifest.csv", "curves.png", "evaluation.csv", "evaluation.json", "studies.json"}
        assert expected | {"report.html"} <= tracked.artifacts()
        assert any("overlay" in path for path in tracked.artifacts("images"))

    def test_mlflow_names_the_data_of_each_role(self, tracked: _Tracked) -> None:
        inputs = tracked.record.inputs.dataset_inputs
        roles = {tag.value: json.loads(i.dataset.profile)["studies"] for i in inputs for tag in i.tags}
        assert roles == {"train": 3, "validation": 1, "test": 2}

    def test_complete_run_has_nothing_to_resume(self, tracked: _Tracked) -> None:
        with pytest.raises(CheckpointError, match="is complete"):
            run(tracked.config, resume="last", display=QUIET)

    def test_more_epochs_go_on_in_the_same_folder_and_mlflow_run(self, tracked: _Tracked, tmp_path: Path) -> None:
        runs = tmp_path / "runs"
        shutil.copytree(tracked.config.runs_dir, runs)
        training = replace(tracked.config.training, epochs=3)
        result = run(
            tracked.config.model_copy(update={"training": training, "runs_dir": runs}), resume="last", display=QUIET
        )
        assert result.folder.run_id == tracked.result.folder.run_id
        assert result.tracker.run_id == tracked.result.tracker.run_id
        history = tracked.client.get_metric_history(result.tracker.run_id, "train/loss")
        assert [metric.step for metric in history] == [1, 2, 3]
        assert tracked.client.get_run(result.tracker.run_id).info.status == "FINISHED"


class TestWithoutMlflow:
    def test_run_completes_with_mlflow_not_installed(
        self, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "mlflow", None)
        result = run(tiny_config("data.mode=slice", "data.patch_size=[16, 16]"), display=QUIET)
        assert result.evaluation is not None
        assert len(result.evaluation.scores) == 2
        assert result.tracker.run_id is None

    def test_training_alone_makes_a_model_and_scores_nothing(self, tiny_config: Config) -> None:
        result = run(tiny_config("training.epochs=1"), train_only=True, display=QUIET)
        assert result.evaluation is None
        assert load_segmenter(result.folder.model, "cpu").spec.classes.names == ("liver", "tumour")
        assert not (result.folder.path / "evaluation.csv").exists()

    def test_evaluation_follows_when_the_trained_run_is_resumed(self, tiny_config: Config) -> None:
        trained = run(tiny_config("training.epochs=1"), train_only=True, display=QUIET)
        result = run(tiny_config("training.epochs=1"), resume="last", display=QUIET)
        assert result.folder == trained.folder
        assert result.evaluation is not None


@pytest.fixture
def damaged(phantoms: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the phantoms in which some images are truncated."""

    def damage(*study_ids: str) -> Path:
        folder = tmp_path / "damaged"
        shutil.copytree(phantoms, folder)
        for study_id in study_ids:
            image = folder / "images" / f"{study_id}.nii.gz"
            image.write_bytes(image.read_bytes()[:2000])
        return folder

    return damage


def _data(folder: Path) -> list[str]:
    return [f"data.manifest={folder / 'manifest.csv'}", f"data.root={folder}", "training.epochs=1"]


class TestBrokenStudies:
    def test_training_study_is_left_out_said_and_tagged(
        self,
        damaged: Any,
        tiny_config: Config,
        tracking_uri: str,
        mlflow_client: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        config = tiny_config(*_data(damaged("phantom_001")), "name=damaged", f"tracking={{uri: '{tracking_uri}'}}")
        result = run(config, display=QUIET)
        assert "phantom_001: left out of training" in caplog.text
        record = mlflow_client.get_run(result.tracker.run_id)
        assert (record.info.status, record.data.tags["medseg.left_out"]) == ("FINISHED", "phantom_001")
        assert result.evaluation is not None
        assert not result.evaluation.failures

    def test_test_study_becomes_a_failure_and_the_others_are_scored(self, damaged: Any, tiny_config: Config) -> None:
        result = run(tiny_config(*_data(damaged("phantom_004"))), display=QUIET)
        assert result.evaluation is not None
        assert [s.study_id for s in result.evaluation.scores] == ["phantom_005"]
        assert [f.study_id for f in result.evaluation.failures] == ["phantom_004"]
        assert "phantom_004" in result.evaluation.failures[0].reason

    def test_label_on_another_grid_is_a_failure_too(self, damaged: Any, tiny_config: Config) -> None:
        folder = damaged()
        shutil.copy(folder / "labels" / "phantom_000.nii.gz", folder / "labels" / "phantom_004.nii.gz")
        result = run(tiny_config(*_data(folder)), display=QUIET)
        assert result.evaluation is not None
        assert [f.study_id for f in result.evaluation.failures] == ["phantom_004"]

    def test_without_a_usable_study_the_run_fails_with_the_reason(
        self, damaged: Any, tiny_config: Config, tracking_uri: str, mlflow_client: Any
    ) -> None:
        folder = damaged("phantom_001", "phantom_002", "phantom_003")
        config = tiny_config(*_data(folder), "name=hopeless", f"tracking={{uri: '{tracking_uri}'}}")
        with pytest.raises(ManifestError, match="none of the 3 training studies can be used"):
            run(config, display=QUIET)
        experiment = mlflow_client.get_experiment_by_name("hopeless")
        (record,) = mlflow_client.search_runs([experiment.experiment_id])
        assert record.info.status == "FAILED"
        assert record.data.tags["medseg.failure"].startswith("ManifestError: none of the 3 training studies")
        log = next((config.runs_dir / "hopeless").glob("*/log.jsonl")).read_text()
        assert "failed: none of the 3" in log


class TestInterruption:
    def test_ctrl_c_ends_the_mlflow_run_as_killed(
        self, tiny_config: Config, tracking_uri: str, mlflow_client: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(*args: Any, **kwargs: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(stages, "train", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_config("name=interrupted", f"tracking={{uri: '{tracking_uri}'}}"), display=QUIET)
        experiment = mlflow_client.get_experiment_by_name("interrupted")
        (record,) = mlflow_client.search_runs([experiment.experiment_id])
        assert (record.info.status, record.data.tags["medseg.failure"]) == ("KILLED", "interrupted")


class TestResume:
    def test_nothing_to_resume_is_an_error_and_starts_no_run(self, tiny_config: Config) -> None:
        with pytest.raises(CheckpointError, match="nothing to resume"):
            run(tiny_config(), resume="last", display=QUIET)
        assert not (tiny_config().runs_dir / "tiny").exists()

    def test_other_network_option_is_an_error_that_names_the_key(self, tiny_config: Config) -> None:
        run(tiny_config("training.epochs=1"), train_only=True, display=QUIET)
        with pytest.raises(CheckpointError, match=r"network\.channels: \[4, 8\] then, \[4, 16\] now"):
            run(tiny_config("network.channels=[4, 16]"), resume="last", display=QUIET)

    def test_checkpoint_of_another_network_is_an_error(self, tiny_config: Config) -> None:
        other = run(tiny_config("name=other", "network.channels=[4, 16]"), train_only=True, display=QUIET)
        mine = run(tiny_config("training.epochs=1"), train_only=True, display=QUIET)
        shutil.copy(other.folder.checkpoints / "last.ckpt", mine.folder.checkpoints / "last.ckpt")
        with pytest.raises(CheckpointError, match=r"last\.ckpt does not fit the network 'UNet'"):
            run(tiny_config("training.epochs=9"), resume="last", display=QUIET)

    def test_changed_manifest_is_an_error(self, damaged: Any, tiny_config: Config) -> None:
        folder = damaged()
        run(tiny_config(*_data(folder)), train_only=True, display=QUIET)
        lines = (folder / "manifest.csv").read_text().splitlines(keepends=True)
        (folder / "manifest.csv").write_text("".join(lines[:-1]))
        with pytest.raises(CheckpointError, match="the manifest has changed since"):
            run(tiny_config(*_data(folder)), resume="last", display=QUIET)


def test_nothing_to_score_is_said(
    tiny_config: Config, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header, *lines = (phantoms / "manifest.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines[:4]]
    for number, row in enumerate(cells):
        row[2], row[4] = ("test", "") if number == 3 else ("", row[4])
    manifest = tmp_path / "own.csv"
    manifest.write_text("\n".join([header, *map(",".join, cells)]) + "\n")
    result = run(tiny_config(f"data.manifest={manifest}", "evaluation.split=test", "training.epochs=1"))
    assert (result.evaluation, result.split) == (None, "")
    assert "no test study has a label: nothing to score" in capsys.readouterr().err


def test_every_format_ends_with_the_weights_and_scores_of_nifti(
    tmp_path: Path, phantoms: Path, write_tiny: Callable[[Path], Path], ct_series: Callable[..., Volume]
) -> None:
    found = {}
    for kind in ("nifti", "nrrd", "dicom"):
        place = tmp_path / kind
        studies = []
        for study in read_manifest(phantoms / "manifest.csv", phantoms)[
            ::2
        ]:  # one validates, one trains, one is a test
            original = load_study(study, lambda study: LabelMap({"liver": (1,), "tumour": (2,)}))
            assert original.label is not None
            hu = np.rint(original.image.voxels).astype(np.int16)
            written = write_study(place, study.study_id, hu, original.label.voxels, kind, ct_series)
            studies.append(replace(study, image=written.image, label=written.label))
        write_manifest(place / "manifest.csv", studies, place)
        overrides = [f"data.manifest={place / 'manifest.csv'}", f"data.root={place}", "training.epochs=1"]
        overrides += ["labels.liver=Liver", "labels.tumour=tumour"] if kind == "dicom" else ["evaluation.report=false"]
        result = run(load_pipeline(write_tiny(place), overrides), display=QUIET)
        weights = (result.folder.model / "weights.safetensors").read_bytes()
        found[kind] = weights, (result.folder.path / "evaluation.csv").read_text()
    assert found["nrrd"] == found["nifti"]
    assert found["dicom"] == found["nifti"]
    assert "phantom_004,tumour" in found["dicom"][1]
    assert "data:image" in result.folder.report.read_text()  # the viewer has read the image and the label as well
    assert tune_postprocessing([result.folder.path], thresholds=False, device="cpu", display=QUIET).studies == 1
