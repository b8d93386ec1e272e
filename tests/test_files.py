"""Atomic writing: the old file or the new one, never half of either."""

import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.files import atomic_path, remove_remains, without_nan, write_csv


def test_file_appears_whole_in_a_folder_that_was_missing(tmp_path):
    target = tmp_path / "a" / "b" / "table.csv"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.name.startswith(".")
        assert temporary.name.endswith("table.csv")
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_exception_leaves_the_old_file_and_no_temporary(tmp_path, failure):
    target = tmp_path / "best.ckpt"
    target.write_text("old")

    def fail_halfway():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise failure

    with pytest.raises(failure):
        fail_halfway()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_process_killed_while_writing_leaves_the_old_file(tmp_path):
    target = tmp_path / "last.ckpt"
    target.write_text("old")
    code = (
        "import os, signal, sys; from pathlib import Path; from medseg.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert done.returncode == -9
    assert target.read_text() == "old"


def test_block_that_writes_nothing_is_an_error_and_changes_nothing(tmp_path):
    target = tmp_path / "x.json"
    target.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_path(target):
        pass
    assert target.read_text() == "old"


def test_longest_possible_name_can_be_written(tmp_path):
    target = tmp_path / ("x" * 248 + ".nii.gz")
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"1")
    assert target.read_bytes() == b"1"


def test_new_file_has_the_rights_of_an_ordinary_one(tmp_path):
    (tmp_path / "plain").write_text("")
    with atomic_path(tmp_path / "atomic") as temporary:
        temporary.write_text("")
    assert (tmp_path / "atomic").stat().st_mode == Path(tmp_path / "plain").stat().st_mode


def test_remains_of_dead_runs_go_and_everything_else_stays(tmp_path):
    old = [tmp_path / ".0123abcd.last.ckpt", tmp_path / ".89abcdef.phantom-1"]
    old[0].write_text("half")
    old[1].mkdir()
    (old[1] / "image.npy").write_text("half")
    for path in old:
        os.utime(path, (0, 0))
    kept = [tmp_path / name for name in (".0123abce.last.ckpt", ".gitignore", ".nfs000abcdef.x", "last.ckpt")]
    for path in kept:
        path.write_text("whole")
    os.utime(kept[-1], (0, 0))
    remove_remains(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    remove_remains(tmp_path, older_than_s=0)
    assert sorted(tmp_path.iterdir()) == sorted(kept[1:])
    remove_remains(tmp_path / "missing")


def test_numbers_that_json_lacks_become_none_however_deep() -> None:
    value = {"a": math.nan, "b": [1.5, -math.inf, (2, "nan")], "c": {"d": math.inf, "e": None, "f": True}}
    assert without_nan(value) == {"a": None, "b": [1.5, None, [2, "nan"]], "c": {"d": None, "e": None, "f": True}}


def test_a_table_has_empty_cells_for_what_is_no_number_and_may_have_no_rows(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["name", "score"], [("x, y", 0.5), ("z", math.nan), ("", None)])
    with (tmp_path / "a.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["name", "score"], ["x, y", "0.5"], ["z", ""], ["", ""]]
    write_csv(tmp_path / "b.csv", ["name"], [])
    assert (tmp_path / "b.csv").read_text().split() == ["name"]
