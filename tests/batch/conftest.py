"""Studies that are text files, and a segmenter that reads numbers out of them."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg.types import StudyInput


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module ``fakes/fake_batch.py``, which spawned processes can import too."""
    folder = str(Path(__file__).parent / "fakes")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])]))
    return importlib.import_module("fake_batch")


@pytest.fixture
def numbers(tmp_path: Path) -> Callable[..., list[StudyInput]]:
    """Studies for the fake segmenter, named a, b, c, ...: ``numbers(1, 2, 3)``; None is no number."""

    def make(*values: int | None) -> list[StudyInput]:
        folder = tmp_path / "numbers"
        folder.mkdir(exist_ok=True)
        paths = [folder / f"{chr(ord('a') + place)}.txt" for place in range(len(values))]
        for path, value in zip(paths, values, strict=True):
            path.write_text("no number" if value is None else str(value))
        return [StudyInput(path.stem, path) for path in paths]

    return make
