"""The SQLite file of a tracking store: made whole or not at all, however many runs start together."""

from __future__ import annotations

import logging
import os
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

_log = logging.getLogger(__name__)


def prepare_database(uri: str, artifact_location: str) -> None:
    """Create MLflow's tables where the file of a SQLite URI does not exist yet, and check it where it does.

    MLflow 3.17 creates its tables in place and without a lock: of runs that start together all but one fail, and one
    that is killed meanwhile leaves half a file. So the file is built under another name and linked into its place.

    Args:
        uri: tracking URI; one that is not SQLite is left to its server.
        artifact_location: where the experiment "Default", which every store has, keeps artifacts.

    Raises:
        sqlite3.Error: the file is no database or cannot be read (MLflow would try ten times, over minutes).
        OSError: the folder cannot be made or written.
        sqlalchemy.exc.SQLAlchemyError: the tables cannot be created.
    """
    if not uri.startswith("sqlite:///"):
        return
    path = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    if path.exists():
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
        return
    _log.info("creating the tracking database %s (once, some seconds)", path)
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        _create_tables(building, artifact_location)
        _put_in_place(building, path)
    finally:
        building.unlink(missing_ok=True)


def _create_tables(path: Path, artifact_location: str) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(f"sqlite:///{path.resolve()}", artifact_location)
    store.engine.dispose()


def _put_in_place(building: Path, path: Path) -> None:
    try:
        os.link(building, path)  # unlike a rename, never replaces the file of a run that was quicker
    except FileExistsError:
        _log.info("another run has created %s meanwhile", path)
    except OSError:
        if not path.exists():  # a file system without hard links
            building.rename(path)
