import os
import sqlite3
from pathlib import Path

import pytest

from medseg.errors import TrackingError
from medseg.tracking import database, open_tracker
from medseg.tracking.database import prepare_database


@pytest.fixture
def tables(monkeypatch):
    """Stands for MLflow's tables, which take seconds; `meanwhile` is what happens while they are made."""

    class Tables:
        meanwhile = staticmethod(lambda: None)

    def create(path: Path, artifact_location: str) -> None:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE ours (x)")
        connection.close()
        Tables.meanwhile()

    monkeypatch.setattr(database, "_create_tables", create)
    return Tables


def names(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]


def prepare(path: Path) -> None:
    prepare_database(f"sqlite:///{path}", "file:///artifacts")


def test_missing_database_is_created_with_its_folder_and_nothing_else(tmp_path, tables) -> None:
    prepare(tmp_path / "runs" / "mlflow.db")
    assert names(tmp_path / "runs" / "mlflow.db") == ["ours"]
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["mlflow.db"]


def test_existing_database_is_left_as_it_is(tmp_path, tables) -> None:
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("CREATE TABLE theirs (x)")
    prepare(tmp_path / "mlflow.db")
    assert names(tmp_path / "mlflow.db") == ["theirs"]


def test_run_that_was_quicker_keeps_its_database(tmp_path, tables) -> None:
    def other_run() -> None:
        with sqlite3.connect(tmp_path / "mlflow.db") as connection:
            connection.execute("CREATE TABLE theirs (x)")

    tables.meanwhile = other_run
    prepare(tmp_path / "mlflow.db")
    assert names(tmp_path / "mlflow.db") == ["theirs"]
    assert [p.name for p in tmp_path.iterdir()] == ["mlflow.db"]


def test_run_that_dies_while_creating_leaves_nothing_behind(tmp_path, tables) -> None:
    def die() -> None:
        raise OSError(28, "No space left on device")

    tables.meanwhile = die
    with pytest.raises(OSError, match="No space"):
        prepare(tmp_path / "mlflow.db")
    assert list(tmp_path.iterdir()) == []


def test_file_system_without_hard_links_gets_the_database_too(tmp_path, tables, monkeypatch) -> None:
    def refused(*args: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    prepare(tmp_path / "mlflow.db")
    assert names(tmp_path / "mlflow.db") == ["ours"]


def test_file_that_is_no_database_fails_at_once_and_is_kept(tmp_path) -> None:
    (tmp_path / "mlflow.db").write_text("this is not a database, and MLflow would try ten times")
    with pytest.raises(TrackingError, match=r"mlflow\.db.*not a database.*tracking: none"):
        open_tracker(uri=None, experiment="liver", run_name="run", folder=tmp_path)
    assert (tmp_path / "mlflow.db").read_text().startswith("this is not")


def test_server_is_left_alone(tmp_path, tables, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    prepare_database("https://mlflow.example.org", "file:///artifacts")
    assert list(tmp_path.iterdir()) == []
