from pathlib import Path

import pytest

from medseg.tracking.links import default_uri, experiments_url, latest_run_url


@pytest.mark.parametrize(
    ("uri", "tab", "expected"),
    [
        ("sqlite:////a/mlflow.db", "", "http://127.0.0.1:5000/#/experiments/3/runs/abc?workflowType=machine_learning"),
        (
            "sqlite:////a/mlflow.db",
            "model-metrics",
            "http://127.0.0.1:5000/#/experiments/3/runs/abc/model-metrics?workflowType=machine_learning",
        ),
        (
            "https://mlflow.example.org/",
            "artifacts",
            "https://mlflow.example.org/#/experiments/3/runs/abc/artifacts?workflowType=machine_learning",
        ),
    ],
)
def test_run_url_opens_the_training_view(uri, tab, expected) -> None:
    assert latest_run_url(uri, "abc", "3", tab=tab) == expected


def test_store_is_named_so_that_it_holds_from_every_working_directory(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_uri(Path("runs")) == f"sqlite:///{tmp_path}/runs/mlflow.db"


def test_experiments_open_in_the_training_view() -> None:
    assert experiments_url(port=5001) == "http://127.0.0.1:5001/#/experiments?workflowType=machine_learning"
