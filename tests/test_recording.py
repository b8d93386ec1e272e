"""What is written into a run's book, and when: looked at through a tracker that only listens."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg.config.schema import PipelineConfig
from medseg.evaluation import Evaluation, Failure, score_files
from medseg.recording import open_run, record_evaluation, record_inputs, record_model, recorded
from medseg.run_folder import RunFolder, new_run
from medseg.study.manifest import read_manifest, split
from medseg.tracking import NoTracker, upload

Config = Callable[..., PipelineConfig]


class Listening(NoTracker):
    """Keeps every call as (method, arguments)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith(("log_", "set_", "register_", "finish")):
            return lambda *args, **kwargs: self.calls.append((name, (*args, *kwargs.values())))
        return super().__getattribute__(name)

    def of(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments for called, arguments in self.calls if called == name]


@pytest.fixture
def listening() -> Listening:
    return Listening()


def test_without_tracking_nothing_is_opened(tiny_config: Config) -> None:
    config = tiny_config()
    folder = new_run(config)
    assert isinstance(open_run(config, folder, None), NoTracker)
    assert folder.remembered() == {}


def test_run_that_was_opened_before_is_gone_on_with(tiny_config: Config, tracking_uri: str, mlflow_client: Any) -> None:
    config = tiny_config("name=opened", f"tracking={{uri: '{tracking_uri}', tags: {{ward: radiology}}}}")
    folder = new_run(config)
    first = open_run(config, folder, None)
    assert first.run_id is not None
    assert folder.remembered() == {"run_id": first.run_id}
    first.finish("KILLED", "test")
    again = open_run(config, folder, None)
    again.finish("FINISHED")
    assert again.run_id == first.run_id
    tags = mlflow_client.get_run(first.run_id).data.tags
    expected = {"pipeline": "opened", "network": "unet", "mode": "patch", "fold": "0", "ward": "radiology"}
    assert expected.items() <= tags.items()
    found = mlflow_client.search_runs(
        [mlflow_client.get_experiment_by_name("opened").experiment_id],
        "tags.`medseg.network` = 'unet' AND tags.`medseg.mode` = 'patch' AND tags.`medseg.dataset` = 'manifest' "
        "AND tags.`medseg.fold` = '0' AND tags.`medseg.pipeline` = 'opened'",
    )
    assert [run.info.run_id for run in found] == [first.run_id]


def test_offline_run_touches_no_store_and_is_uploaded_later(
    tiny_config: Config, tracking_uri: str, mlflow_client: Any
) -> None:
    config = tiny_config("name=offline", f"tracking={{uri: '{tracking_uri}', offline: true, system_metrics: false}}")
    folder = new_run(config)
    tracker = open_run(config, folder, None)
    tracker.log_metrics({"train/loss": 1.0}, 1)
    tracker.finish("FINISHED")
    assert (tracker.run_id, folder.remembered()) == (None, {})
    assert mlflow_client.get_experiment_by_name("offline") is None
    url = upload(folder.path)
    experiment = mlflow_client.get_experiment_by_name("offline").experiment_id
    (run,) = mlflow_client.search_runs([experiment])
    assert run.data.metrics == {"train/loss": 1.0}
    assert run.info.run_id in url


@pytest.mark.parametrize(
    ("tracking", "expected"),
    [
        ("tracking=none", []),
        ("tracking={system_metrics: true}", []),
        ("tracking={register_as: liver, alias: champion}", [("liver", "champion")]),
        ("tracking={register_as: liver}", [("liver", None)]),
    ],
)
def test_model_is_registered_where_the_pipeline_asks_for_it(
    tiny_config: Config, listening: Listening, tracking: str, expected: list[tuple[str, str | None]]
) -> None:
    from medseg.reports.progress import Display
    from medseg.training.checkpoint import TrainingState

    config = tiny_config(tracking)
    folder = new_run(config)
    state = TrainingState(history=[{"epoch": 1, "train/loss": 1.0}], finished="epochs")
    record_model(config, folder, state, listening, Display(quiet=True))
    assert listening.of("log_model") == [(folder.model,)]
    assert listening.of("register_model") == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyboardInterrupt(), ("KILLED", "interrupted")),
        (ValueError("no such voxel"), ("FAILED", "ValueError: no such voxel")),
    ],
)
def test_bad_end_is_recorded_with_its_reason_and_goes_on_up(
    listening: Listening, error: BaseException, expected: tuple[str, str]
) -> None:
    with pytest.raises(type(error)), recorded(listening):
        raise error
    assert listening.of("finish") == [expected]


def test_good_end_is_left_to_the_caller(listening: Listening) -> None:
    with recorded(listening):
        pass
    assert listening.calls == []


def test_failure_stands_in_the_log(listening: Listening, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(OSError, match="disk"), recorded(listening):
        raise OSError("disk is full")
    assert "failed: disk is full" in caplog.text


def test_each_role_of_the_data_has_a_digest_of_its_own(tiny_config: Config, listening: Listening) -> None:
    config = tiny_config()
    studies = read_manifest(config.data.manifest, config.data.root)
    folder = new_run(config)
    record_inputs(config, folder, listening, studies, split(studies, 0))
    datasets = listening.of("log_dataset")
    assert [(context, count) for _, _, context, count in datasets] == [("train", 3), ("validation", 1), ("test", 2)]
    assert len({digest for _, digest, _, _ in datasets}) == 3
    assert [path.name for (path,) in listening.of("log_file")] == ["config.yaml", "manifest.csv"]
    (params,) = listening.of("log_params")
    assert params[0]["preprocessing"]["spacing_mm"] == [6.0, 6.0, 6.0]


@pytest.fixture
def scored(phantoms: Path, tiny_config: Config) -> Callable[[], tuple[PipelineConfig, RunFolder, Evaluation]]:
    """Two phantoms scored against themselves, as if segmented without a mistake, and a third that failed."""

    def make() -> tuple[PipelineConfig, RunFolder, Evaluation]:
        config = tiny_config()
        folder = new_run(config)
        folder.segmentations.mkdir()
        scores = []
        for study in read_manifest(config.data.manifest, config.data.root)[:2]:
            assert study.label is not None
            place = folder.segmentation(study.study_id)
            place.write_bytes(study.label.read_bytes())
            scores.append(score_files(study.study_id, study.label, place, config.label_map, config.label_map))
        return config, folder, Evaluation(tuple(scores), (Failure("phantom_002", "cut short"),))

    return make


def test_evaluation_is_recorded_as_files_numbers_table_and_pictures(scored: Any, listening: Listening) -> None:
    config, folder, evaluation = scored()
    studies = read_manifest(config.data.manifest, config.data.root)
    record_evaluation(config, folder, "validation", studies, evaluation, listening)
    files = [(*folder, path.name) for path, *folder in listening.of("log_file")]
    assert files[:2] == [("evaluation.csv",), ("evaluation.json",)]
    assert {folder for folder, _ in files[2:]} == {"overlays"}
    assert (folder.path / "evaluation.csv").read_text().count("\n") == 1 + 2 * 2
    ((metrics, _),) = listening.of("log_metrics")
    assert metrics["validation/dice/liver"] == 1.0
    assert (metrics["validation/studies"], metrics["validation/failed_studies"]) == (2, 1)
    ((rows, name),) = listening.of("log_table")
    assert name == "studies.json"
    assert {row["study_id"] for row in rows} == {"phantom_000", "phantom_001"}
    images = listening.of("log_image")
    assert {key for _, key, _ in images} <= {"overlay/best", "overlay/median", "overlay/worst"}
    assert all(path.is_file() for path, _, _ in images)
    assert images


def test_evaluation_of_nothing_is_recorded_too(tiny_config: Config, listening: Listening) -> None:
    config = tiny_config()
    folder = new_run(config)
    record_evaluation(config, folder, "test", [], Evaluation((), (Failure("a", "cut short"),)), listening)
    ((metrics, _),) = listening.of("log_metrics")
    assert (metrics["test/studies"], metrics["test/failed_studies"]) == (0, 1)
    assert math.isnan(metrics["test/miou"])
    assert listening.of("log_image") == []
