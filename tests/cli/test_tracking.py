"""`ui`."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg import tracking
from tests.cli.ended import Medseg


def test_ui_prints_where_to_look_and_serves_the_runs(
    medseg: Medseg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[tuple[Path, int]] = []

    def serve(runs: Path, port: int) -> int:
        served.append((runs, port))
        return 3

    monkeypatch.setattr(tracking, "serve_ui", serve)
    ended = medseg("ui", "--runs", tmp_path, "--port", 5001)
    assert (ended.code, served) == (3, [(tmp_path, 5001)])
    assert "http://127.0.0.1:5001/#/experiments?workflowType=machine_learning" in ended.out
