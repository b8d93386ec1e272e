"""`ui` and `track-upload`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medseg import tracking
from medseg.errors import TrackingError
from tests.cli.ended import Medseg


def test_ui_prints_where_to_look_once_it_serves_the_runs(
    medseg: Medseg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[tuple[Path, int]] = []

    def serve(runs: Path, port: int, on_ready: Callable[[str, str | None], None]) -> int:
        served.append((runs, port))
        on_ready("http://127.0.0.1:5001/#/experiments", "http://127.0.0.1:5001/#/runs/7")
        return 3

    monkeypatch.setattr(tracking, "serve_ui", serve)
    ended = medseg("ui", "--runs", tmp_path, "--port", 5001)
    assert (ended.code, served) == (3, [(tmp_path, 5001)])
    assert ended.out.splitlines()[:2] == [
        "newest run:  http://127.0.0.1:5001/#/runs/7",
        "all runs:    http://127.0.0.1:5001/#/experiments",
    ]


def test_upload_prints_where_each_run_went(medseg: Medseg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "upload", lambda run, uri: f"{uri}/{run.name}")
    ended = medseg("track-upload", "runs/a", "runs/b", "--uri", "http://there")
    assert ended.out.splitlines() == ["runs/a: http://there/a", "runs/b: http://there/b"]


def test_a_run_that_cannot_be_sent_stops_no_other(medseg: Medseg, monkeypatch: pytest.MonkeyPatch) -> None:
    def upload(run: Path, uri: str | None) -> str:
        if run.name == "a":
            raise TrackingError("a is away")
        return "there"

    monkeypatch.setattr(tracking, "upload", upload)
    ended = medseg("track-upload", "runs/a", "runs/b")
    assert (ended.code, ended.out, ended.err) == (2, "runs/b: there\n", "error: a is away\n")


def test_upload_of_no_run_is_a_message(medseg: Medseg, tmp_path: Path) -> None:
    ended = medseg("track-upload", tmp_path)
    assert ended.code == 2
    assert "nothing to upload" in ended.err
