"""`phantom` and `manifest`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medseg.phantom.make import SMALL
from tests.cli.ended import Ended, Medseg


class TestPhantom:
    def test_studies_and_manifest_are_written(
        self, medseg: Medseg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from medseg.phantom import make as phantom

        plain = phantom.write_phantoms
        monkeypatch.setattr(phantom, "write_phantoms", lambda *args: plain(*args, options=SMALL))
        ended = medseg("phantom", "--output", tmp_path, "--studies", 2, "--seed", 5)
        assert ended == Ended(0, f"2 studies: {tmp_path / 'manifest.csv'}\n", "")
        assert len(list((tmp_path / "images").iterdir())) == 2

    @pytest.mark.parametrize("option", [("--studies", 0), ("--seed", -1)])
    def test_senseless_numbers_are_refused(self, medseg: Medseg, tmp_path: Path, option: tuple[str, int]) -> None:
        assert medseg("phantom", "--output", tmp_path, *option).code == 2


class TestManifest:
    def _pairs(self, phantoms: Path, folder: Path, count: int) -> Path:
        for kind in ("images", "labels"):
            (folder / kind).mkdir(parents=True)
            for path in sorted((phantoms / kind).iterdir())[:count]:
                shutil.copy(path, folder / kind)
        return folder

    def _folds(self, path: Path) -> list[str]:
        return [line.split(",")[2] for line in path.read_text().splitlines()[1:]]

    def test_folder_is_recognised_and_cut_into_folds(self, medseg: Medseg, phantoms: Path, tmp_path: Path) -> None:
        folder, output = self._pairs(phantoms, tmp_path / "data", 6), tmp_path / "own.csv"
        ended = medseg("manifest", folder, "--output", output, "--folds", 3)
        assert ended.code == 0
        assert "recognised folders images and labels: 6 training and 0 test studies" in ended.out
        assert f"data.manifest={output} data.root={folder}" in ended.out
        assert sorted(self._folds(output)) == ["0", "0", "1", "1", "2", "2"]

    def test_fewer_subjects_than_folds_lower_the_number_and_it_is_said(
        self, medseg: Medseg, phantoms: Path, tmp_path: Path
    ) -> None:
        ended = medseg("manifest", self._pairs(phantoms, tmp_path / "data", 3), "--output", tmp_path / "own.csv")
        assert ended.code == 0
        assert "3 subjects are too few for 5 folds; made 3 folds" in ended.out
        assert sorted(self._folds(tmp_path / "own.csv")) == ["0", "1", "2"]

    def test_one_subject_gets_no_fold(self, medseg: Medseg, phantoms: Path, tmp_path: Path) -> None:
        ended = medseg("manifest", self._pairs(phantoms, tmp_path / "data", 1), "--output", tmp_path / "own.csv")
        assert ended.code == 0
        assert "train with data.fold=all" in ended.out
        assert self._folds(tmp_path / "own.csv") == [""]

    def test_empty_folder_is_an_error(self, medseg: Medseg, tmp_path: Path) -> None:
        ended = medseg("manifest", tmp_path, "--output", tmp_path / "own.csv")
        assert ended.code == 2
        assert ended.err.startswith("error: ")
        assert not (tmp_path / "own.csv").exists()
