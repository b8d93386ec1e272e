"""What is written into a run's book, and when: looked at through a tracker that only listens."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pytest

from medseg.config.schema import PipelineConfig
from medseg.evaluation.files import score_files
from medseg.evaluation.results import Evaluation, Failure, read_json
from medseg.runs.folder import new_run
from medseg.runs.recording import (
    ValidationPictures,
    open_tracker,
    record_evaluation,
    record_folds,
    record_inputs,
    record_model,
    recorded,
)
from medseg.runs.run import Run
from medseg.tracking import NoTracker, upload
from medseg.tracking.records import (
    Dataset,
    File,
    Metrics,
    Model,
    Params,
    Picture,
    Record,
    Registration,
    Table,
)
from medseg.types import Grid, Volume

Config = Callable[..., PipelineConfig]
R = TypeVar("R", bound=Record)
Begin = Callable[..., Run]


class Listening(NoTracker):
    """Keeps every record, and how the run ended."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.ends: list[tuple[str, str]] = []

    def note(self, record: Record) -> None:
        self.records.append(record)

    def finish(self, status: str, reason: str = "") -> None:
        self.ends.append((status, reason))

    def of(self, kind: type[R]) -> list[R]:
        return [record for record in self.records if isinstance(record, kind)]


@pytest.fixture
def listening() -> Listening:
    return Listening()


def test_without_tracking_nothing_is_opened(tiny_config: Config) -> None:
    config = tiny_config()
    folder = new_run(config)
    assert isinstance(open_tracker(config, folder, None), NoTracker)
    assert folder.remembered() == {}


def test_run_that_was_opened_before_is_gone_on_with(tiny_config: Config, tracking_uri: str, mlflow_client: Any) -> None:
    config = tiny_config("name=opened", f"tracking={{uri: '{tracking_uri}', tags: {{ward: radiology}}}}")
    folder = new_run(config)
    first = open_tracker(config, folder, None)
    assert first.run_id is not None
    assert folder.remembered() == {"run_id": first.run_id}
    first.finish("KILLED", "test")
    again = open_tracker(config, folder, None)
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
    tracker = open_tracker(config, folder, None)
    tracker.note(Metrics({"train/loss": 1.0}, 1))
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
    tiny_config: Config,
    begin: Begin,
    listening: Listening,
    tracking: str,
    expected: list[tuple[str, str | None]],
) -> None:
    from medseg.training.checkpoint import TrainingState

    run = begin(tiny_config(tracking), listening)
    state = TrainingState(history=[{"epoch": 1, "train/loss": 1.0}], finished="epochs")
    record_model(run, state)
    assert listening.of(Model) == [Model(run.folder.model)]
    assert [(r.name, r.alias) for r in listening.of(Registration)] == expected


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
    assert listening.ends == [expected]


def test_good_end_is_left_to_the_caller(listening: Listening) -> None:
    with recorded(listening):
        pass
    assert (listening.records, listening.ends) == ([], [])


def test_failure_stands_in_the_log(listening: Listening, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(OSError, match="disk"), recorded(listening):
        raise OSError("disk is full")
    assert "failed: disk is full" in caplog.text


def test_each_role_of_the_data_has_a_digest_of_its_own(tiny_config: Config, begin: Begin, listening: Listening) -> None:
    record_inputs(begin(tiny_config(), listening))
    datasets = listening.of(Dataset)
    assert [(d.context, d.n_studies) for d in datasets] == [("train", 3), ("validation", 1), ("test", 2)]
    assert len({d.digest for d in datasets}) == 3
    assert [r.file.name for r in listening.of(File)] == ["config.yaml", "manifest.csv"]
    (settings,) = listening.of(Params)
    assert settings.params["preprocessing"]["spacing_mm"] == [6.0, 6.0, 6.0]


@pytest.fixture
def scored(tiny_config: Config, begin: Begin, listening: Listening) -> Callable[..., tuple[Run, Evaluation]]:
    """Two phantoms scored against themselves, as if segmented without a mistake, and a third that failed."""

    def make(*overrides: str) -> tuple[Run, Evaluation]:
        run = begin(tiny_config(*overrides), listening)
        run.folder.segmentations.mkdir()
        scores, values = [], run.config.label_map
        for study in run.studies[:2]:
            assert study.label is not None
            place = run.folder.segmentation(study.study_id)
            place.write_bytes(study.label.read_bytes())
            scores.append(score_files(study.study_id, study.label, place, values, values))
        return run, Evaluation(tuple(scores), (Failure("phantom_002", "cut short"),))

    return make


def test_evaluation_is_recorded_as_files_numbers_table_and_pictures(scored: Any, listening: Listening) -> None:
    run, evaluation = scored()
    record_evaluation(run, "validation", run.studies, evaluation)
    files = [(r.folder, r.file.name) for r in listening.of(File)]
    assert files[:2] == [("", "evaluation.csv"), ("", "evaluation.json")]
    assert {folder for folder, _ in files[2:-1]} == {"overlays"}
    assert files[-1] == ("", "report.html")
    assert (run.folder.path / "evaluation.csv").read_text().count("\n") == 1 + 2 * 2
    metrics = listening.of(Metrics)[0].metrics
    assert len(listening.of(Metrics)) == 1
    assert metrics["validation/dice/liver"] == 1.0
    assert (metrics["validation/studies"], metrics["validation/failed_studies"]) == (2, 1)
    (table,) = listening.of(Table)
    assert table.name == "studies.json"
    assert {row["study_id"] for row in table.rows} == {"phantom_000", "phantom_001"}
    pictures = listening.of(Picture)
    kinds = {tuple(picture.key.split("/")) for picture in pictures}
    assert {kind for kind, _ in kinds} == {"overlay", "slices", "errors"}
    assert {rank for _, rank in kinds} <= {"best", "median", "worst"}
    assert all(picture.file.is_file() for picture in pictures)
    assert pictures


def test_the_page_can_be_left_out(scored: Any) -> None:
    run, evaluation = scored("evaluation.report=false")
    record_evaluation(run, "validation", run.studies, evaluation)
    assert not run.folder.report.exists()


def test_folds_are_reviewed_together(scored: Any, listening: Listening) -> None:
    run, evaluation = scored("evaluation.lesions=[tumour]")
    first, second, together = run.folder, new_run(run.config), new_run(run.config, "-cv")
    second.segmentations.mkdir()
    (second.segmentation("phantom_001")).write_bytes(first.segmentation("phantom_001").read_bytes())
    first.segmentation("phantom_001").unlink()  # each study is looked for in the fold that scored it
    folds = [(first, replace(evaluation, scores=evaluation.scores[:1])), (second, Evaluation(evaluation.scores[1:]))]
    record_folds(replace(run, folder=together), folds)
    files = [record.file.name for record in listening.of(File)]
    assert files == ["evaluation.csv", "evaluation.json", "evaluation_lesions.csv", "report.html"]
    read = read_json(together.path / "evaluation.json")
    assert [s.study_id for s in read.scores] == ["phantom_000", "phantom_001"]
    assert [f.study_id for f in read.failures] == ["phantom_002"]
    assert "No such file" not in together.report.read_text()


class TestValidationPictures:
    @pytest.fixture
    def volumes(self) -> tuple[Volume, Any, Any]:
        grid = Grid((16, 16, 8), np.diag([4.0, 4.0, 5.0, 1.0]))
        reference = np.zeros(grid.shape, np.uint8)
        reference[4:10, 4:10, 2:6] = 1
        return Volume(np.zeros(grid.shape, np.int16), grid), reference, np.zeros(grid.shape, np.uint8)

    def test_one_study_goes_through_the_epochs(
        self, tiny_config: Config, begin: Begin, listening: Listening, volumes: tuple[Volume, Any, Any]
    ) -> None:
        run = begin(tiny_config(), listening)
        pictures = ValidationPictures(run)
        pictures.log(1)  # an epoch without validation
        assert listening.of(Picture) == []
        for epoch in (2, 4):
            for study in (*run.splits.validation, *run.splits.train):
                pictures.draw(study.study_id, *volumes)
            pictures.log(epoch)
        pictures.log(5)
        logged = listening.of(Picture)
        assert [(picture.file.name, picture.key, picture.step) for picture in logged] == [
            ("reference.png", "overlay/validation", 0),
            ("validation.png", "overlay/validation", 2),
            ("validation.png", "overlay/validation", 4),
        ]
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in (picture.file for picture in logged))

    def test_a_resumed_run_does_not_draw_the_reference_again(
        self, tiny_config: Config, begin: Begin, listening: Listening, volumes: tuple[Volume, Any, Any]
    ) -> None:
        run = begin(tiny_config(), listening)
        for _ in range(2):
            ValidationPictures(run).draw(run.splits.validation[0].study_id, *volumes)
        assert len(listening.of(Picture)) == 1

    def test_without_validation_nothing_is_drawn(
        self, tiny_config: Config, begin: Begin, listening: Listening, volumes: tuple[Volume, Any, Any]
    ) -> None:
        pictures = ValidationPictures(begin(tiny_config("data.fold=all"), listening))
        pictures.draw("a", *volumes)
        pictures.log(1)
        assert listening.records == []


def test_evaluation_of_nothing_is_recorded_too(tiny_config: Config, begin: Begin, listening: Listening) -> None:
    run = begin(tiny_config(), listening)
    record_evaluation(run, "test", [], Evaluation((), (Failure("a", "cut short"),)))
    metrics = listening.of(Metrics)[0].metrics
    assert len(listening.of(Metrics)) == 1
    assert (metrics["test/studies"], metrics["test/failed_studies"]) == (0, 1)
    assert math.isnan(metrics["test/miou"])
    assert listening.of(Picture) == []
