"""Locks between processes, and lines that are whole or not there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medseg import locks
from medseg.locks import Unlockable, append_whole, lock


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    yield opened
    os.close(opened)


def _in_another_process(path: Path, options: str) -> str:
    program = f"import os, sys; from medseg.locks import lock; print(lock(os.open(sys.argv[1], os.O_RDWR), {options}))"
    return subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("inherited", [True, False])
def test_a_locked_file_is_refused_to_another_process(descriptor: int, tmp_path: Path, inherited: bool) -> None:
    assert _in_another_process(tmp_path / "file", f"inherited={inherited}") == "True"  # let go with that process
    assert lock(descriptor, inherited=inherited)
    assert _in_another_process(tmp_path / "file", f"inherited={inherited}") == "False"


def test_a_shared_lock_is_shared_and_keeps_out_who_wants_it_alone(descriptor: int, tmp_path: Path) -> None:
    assert lock(descriptor, shared=True)
    assert _in_another_process(tmp_path / "file", "shared=True, wait=True") == "True"
    assert _in_another_process(tmp_path / "file", "shared=False") == "False"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_says_so(descriptor: int, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def unsupported(descriptor: int, kind: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(locks.fcntl, "flock", unsupported)
    with pytest.raises(Unlockable) as caught:
        lock(descriptor)
    assert caught.value.errno == code


def test_a_platform_without_locks_says_so(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    with pytest.raises(Unlockable, match="platform"):
        lock(descriptor)


def test_the_rooms_that_lock_load_on_a_platform_without_locks() -> None:
    program = (
        "import sys; sys.modules.update(fcntl=None, resource=None)\n"
        "import medseg.batch.claims, medseg.batch.record, medseg.tracking.spool\n"
        "from medseg.batch.pipeline import peak_gib\n"
        "print(peak_gib())"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "0.0"


def test_appended_lines_begin_after_a_torn_one(descriptor: int, tmp_path: Path) -> None:
    append_whole(descriptor, b"one\n")
    append_whole(descriptor, b"two\n")
    os.write(descriptor, b"to")
    append_whole(descriptor, b"three\n")
    assert (tmp_path / "file").read_bytes() == b"one\ntwo\nto\nthree\n"


def test_a_full_disk_leaves_nothing_of_a_line(descriptor: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append_whole(descriptor, b"one\n")
    write = os.write

    def full(descriptor: int, text: bytes) -> int:
        if len(text) < 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, text[:3])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        append_whole(descriptor, b"second\n")
    assert (tmp_path / "file").read_bytes() == b"one\n"
