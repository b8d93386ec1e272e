"""The command line in this process; a mistake is one message and code 2, never a traceback."""

from __future__ import annotations

import sys

import pytest

from medseg import cli
from tests.cli.ended import Ended, Medseg


@pytest.fixture
def medseg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Medseg:
    def medseg(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["medseg", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Ended(code, out, err)

    return medseg
