"""The program as a whole: start-up, mistakes, what ends a run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from medseg import __version__, cli
from tests.cli.ended import Ended, Medseg


def test_help_is_cheap() -> None:
    code = (
        "import sys; sys.argv = ['medseg', '--help']; from medseg.cli import main\n"
        "try: main()\n"
        "except SystemExit: print('LOADED', *sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    shown, _, loaded = out.partition("LOADED")
    assert all(name in shown for name in ("run", "train", "segment", "evaluate", "networks", "phantom", "check", "ui"))
    assert not {"torch", "monai", "mlflow", "SimpleITK", "itk", "matplotlib", "numpy", "pydantic_core"} & set(
        loaded.split()
    )


def test_python_m_medseg_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "medseg", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{__version__}\n"


class TestMistakes:
    def test_three_mistakes_are_told_at_once_each_with_its_line(self, medseg: Medseg, tiny: Path) -> None:
        text = tiny.read_text().replace("mode: patch", "mode: slices").replace("epochs: 2", "epohs: 2")
        tiny.write_text(text.replace("name: unet", "name: unett"))
        ended = medseg("run", tiny)
        assert ended.code == 2
        lines = ended.err.splitlines()
        assert len(lines) == 3
        for line, (key, number, nearest) in zip(
            lines,
            [
                ("data.mode", 8, "slice"),
                ("network.name", 12, "unet"),
                ("training.epohs", 14, "epochs"),
            ],
            strict=True,
        ):
            assert re.search(rf"tiny\.yaml:{number}: {re.escape(key)}: .*{nearest}", line), line

    def test_wrong_override_is_named(self, medseg: Medseg, tiny: Path) -> None:
        ended = medseg("train", tiny, "training.epochs=ten")
        assert ended.code == 2
        assert "override 1 (training.epochs=ten)" in ended.err

    def test_missing_pipeline_and_manifest(self, medseg: Medseg, tiny: Path, tmp_path: Path) -> None:
        assert medseg("run", tmp_path / "none.yaml").code == 2
        ended = medseg("run", tiny, f"data.manifest={tmp_path / 'none.csv'}")
        assert ended.code == 2
        assert ended.err.startswith("error: ")
        assert "no such manifest" in ended.err

    def test_manifest_that_leaves_its_root_is_refused_with_the_row(
        self, medseg: Medseg, tiny: Path, phantoms: Path, tmp_path: Path
    ) -> None:
        manifest = tmp_path / "own.csv"
        manifest.write_text((phantoms / "manifest.csv").read_text().replace("images/phantom_001", "../phantom_001"))
        ended = medseg("run", tiny, f"data.manifest={manifest}")
        assert ended.code == 2
        assert "own.csv:3: image: '../phantom_001.nii.gz' leaves the root" in ended.err

    def test_unknown_command_and_option(self, medseg: Medseg) -> None:
        assert medseg("trian").code == 2
        assert medseg("networks", "--clases", 3).code == 2

    def test_nothing_to_resume(self, medseg: Medseg, tiny: Path) -> None:
        ended = medseg("run", tiny, "--resume", "last")
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith("error: nothing to resume")

    def test_resume_and_cross_validation_do_not_go_together(self, medseg: Medseg, tiny: Path) -> None:
        ended = medseg("run", tiny, "--resume", "last", "--cross-validate")
        assert ended.code == 2
        assert "without --cross-validate" in ended.err

    @pytest.mark.parametrize(
        ("error", "code", "text"),
        [
            (OSError(28, "No space left on device", "last.ckpt"), 2, "error: No space left on device: last.ckpt"),
            (FloatingPointError("the loss is nan"), 2, "error: the loss is nan"),
            (KeyboardInterrupt(), 130, "interrupted"),
        ],
        ids=["full disk", "nan", "Ctrl-C"],
    )
    def test_what_ends_a_run_is_one_line(
        self, medseg: Medseg, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, text: str
    ) -> None:
        def fail() -> None:
            raise error

        monkeypatch.setattr(cli, "app", fail)
        ended = medseg()
        assert (ended.code, ended.err.strip()) == (code, text)


def test_version(medseg: Medseg) -> None:
    assert medseg("--version") == Ended(0, f"{__version__}\n", "")
