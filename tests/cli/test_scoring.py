"""`evaluate`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from medseg.study.nifti import write_labels
from medseg.types import Grid, Volume
from tests.cli.ended import Ended, Medseg


class TestEvaluate:
    @pytest.fixture
    def folders(self, tmp_path: Path) -> tuple[Path, Path]:
        grid = Grid((4, 4, 4), np.eye(4))
        reference, found = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape, np.uint8)
        reference[0], reference[1] = 1, 2  # 16 voxels each
        found[0, :2], found[1] = 1, 1
        for folder, voxels in (("reference", reference), ("found", found)):
            write_labels(tmp_path / folder / "a.nii.gz", voxels, Volume(voxels, grid))
        return tmp_path / "reference", tmp_path / "found"

    def _evaluate(self, medseg: Medseg, folders: tuple[Path, Path], labels: str, *more: str) -> Ended:
        output = folders[0].parent / "eval.csv"
        arguments = ["--reference", folders[0], "--segmentation", folders[1], "--output", output, "--labels", labels]
        return medseg("evaluate", *arguments, *more)

    def test_scores_are_printed_and_written(self, medseg: Medseg, folders: tuple[Path, Path]) -> None:
        ended = self._evaluate(medseg, folders, "liver=1+2", "--segmentation-labels", "liver=1")
        assert ended.code == 0
        assert re.search(r"liver +Dice .*0\.857", ended.out)  # 2 * 24 / (32 + 24)
        document = json.loads((folders[0].parent / "eval.json").read_text())
        assert document["studies"][0]["rows"][0]["dice"] == pytest.approx(48 / 56)
        assert "a,liver,0.857" in (folders[0].parent / "eval.csv").read_text()

    def test_study_that_cannot_be_scored_gives_code_1(self, medseg: Medseg, folders: tuple[Path, Path]) -> None:
        shutil.copy(folders[0] / "a.nii.gz", folders[0] / "b.nii.gz")
        ended = self._evaluate(medseg, folders, "liver=1,tumour=2")
        assert ended.code == 1
        assert "1 failed, not scored (reasons above): b" in ended.err
        assert re.search(r"tumour +Dice .*0\.000", ended.out)

    def test_lesions_surfaces_markdown_page_and_json(self, medseg: Medseg, folders: tuple[Path, Path]) -> None:
        there = folders[0].parent
        extra = ["--lesions", "liver", "--tolerance-mm", "liver=7", "--markdown", there / "t.md", "--json"]
        page = ["--report", there / "page.html", "--images", folders[0]]
        ended = self._evaluate(medseg, folders, "liver=1,tumour=2", *map(str, [*extra, *page]))
        assert (ended.code, ended.err) == (0, "")
        facts = json.loads(ended.out)
        assert facts["dice"] == {"liver": pytest.approx(16 / 40), "tumour": 0.0}  # 8 of 16 hit, 24 marked
        names = ["eval.csv", "eval.json", "eval_lesions.csv", "t.md", "page.html"]
        assert [Path(path).name for path in facts["files"]] == names
        assert all(Path(path).is_file() for path in facts["files"])
        assert json.loads((there / "eval.json").read_text())["options"]["tolerance_mm"] == {"liver": 7.0}

    def test_settings_out_of_range_are_a_message(self, medseg: Medseg, folders: tuple[Path, Path]) -> None:
        wrong = ["--tolerance-mm", "liver=0", "--min-overlap", "0", "--lesions", "liver", "--lesions", "liver"]
        ended = self._evaluate(medseg, folders, "liver=1,tumour=2", *wrong)
        assert ended.code == 2
        assert "tolerance_mm.liver: expected a number above 0, found 0.0" in ended.err
        assert "min_overlap: expected a number above 0 and of at most 1, found 0.0" in ended.err
        assert "lesions: expected each class once" in ended.err

    def test_images_without_a_page_are_a_message(self, medseg: Medseg, folders: tuple[Path, Path]) -> None:
        ended = self._evaluate(medseg, folders, "liver=1,tumour=2", "--images", str(folders[0]))
        assert (ended.code, "--report" in ended.err) == (2, True)

    def test_labels_of_the_wrong_form_are_explained(self, medseg: Medseg, folders: tuple[Path, Path]) -> None:
        ended = self._evaluate(medseg, folders, "liver")
        assert ended.code == 2
        assert "expected name=value pairs such as liver=1,tumour=2+3" in ended.err


class TestCompare:
    @pytest.fixture
    def tables(self, tmp_path: Path) -> list[Path]:
        """Two methods on eight studies; the second one is better on each, by 0.01 to 0.08."""
        paths = []
        for name, gain in (("first", 0.0), ("second", 0.01)):
            rows = [f"s{n},liver,{0.7 + 0.02 * n + gain * (n + 1)}" for n in range(8)]
            paths.append(tmp_path / f"{name}.csv")
            paths[-1].write_text("\n".join(["study_id,label,dice", *rows]) + "\n")
        return paths

    def test_the_difference_is_printed_and_written(self, medseg: Medseg, tables: list[Path], tmp_path: Path) -> None:
        ended = medseg("compare", *tables, "--output", tmp_path / "out")
        assert (ended.code, ended.err) == (0, "")
        assert re.search(r"0\.045", ended.out)  # mean of 0.01 to 0.08
        assert "0.008" in ended.out  # 2 / 2 ** 8: all eight differ the same way
        document = json.loads((tmp_path / "out" / "comparison.json").read_text())
        assert "first" in json.dumps(document)
        assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".md", ".csv", ".json", ".png"}

    def test_one_method_or_an_unknown_score_is_a_message(self, medseg: Medseg, tables: list[Path]) -> None:
        assert medseg("compare", tables[0]).code == 2
        ended = medseg("compare", *tables, "--metric", "dicee")
        assert ended.code == 2
        assert "dice" in ended.err
