"""Claims: one holder a study, gone with its process, and no debris."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from medseg.batch.claims import Claims

HOLDER = """
import sys, time
from pathlib import Path
from medseg.batch.claims import Claims
with Claims(Path(sys.argv[1])) as claims:
    print(claims.take("a"), flush=True)
    time.sleep(600)
"""


def test_a_study_has_one_holder_until_it_is_released(tmp_path):
    with Claims(tmp_path) as one, Claims(tmp_path) as two:
        assert one.take("a")
        assert not two.take("a")
        assert two.take("b")
        one.release("a")
        one.release("a")
        assert two.take("a")
    assert list(tmp_path.iterdir()) == []


def test_any_study_id_can_be_claimed(tmp_path):
    with Claims(tmp_path) as claims:
        assert all(claims.take(study_id) for study_id in ("../up", "x" * 300, "a\0b", "\udce4", ""))


def test_claim_of_a_killed_process_is_free_again(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "True\n"
    with Claims(tmp_path) as claims:
        assert not claims.take("a")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert claims.take("a")
    assert list(tmp_path.iterdir()) == []


def test_remains_go_when_nobody_else_is_at_work_and_only_then(tmp_path):
    remains = tmp_path / ".0123abcd.a.nii.gz"
    remains.touch()
    with Claims(tmp_path):
        assert not remains.exists()
        remains.touch()  # this run's own
        with Claims(tmp_path):
            assert remains.exists()
        assert remains.exists()
    assert not remains.exists()


def test_without_file_locks_every_claim_is_granted_with_a_warning(tmp_path, monkeypatch, caplog):
    def unsupported(descriptor, kind):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    remains = tmp_path / ".0123abcd.a.nii.gz"
    remains.touch()
    with Claims(tmp_path) as claims:
        assert claims.take("a")
        assert claims.take("a")
    assert "no file locks" in caplog.text
    assert list(tmp_path.iterdir()) == [remains]  # may be another run's: only old ones go


def test_other_errors_are_not_hidden(tmp_path, monkeypatch):
    def broken(descriptor, kind):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output error"), Claims(tmp_path):
        pass
