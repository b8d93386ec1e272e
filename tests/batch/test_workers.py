"""Several processes: the same outcomes as one, whatever happens to them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medseg.batch.studies import segment_studies
from medseg.errors import CheckpointError, MedsegError


def run(fake, inputs, output, load=None, **options):
    return segment_studies(
        load or fake.load, inputs, output, read=fake.read, write=fake.write, **{"workers": 2, **options}
    )


def test_workers_do_what_one_process_does(fake, numbers, tmp_path):
    inputs = numbers(1, -2, None, 4, 5)
    seen, stages = [], []
    outcomes = run(
        fake, inputs, tmp_path / "out", on_done=seen.append, on_stage=lambda *s: stages.append(s), fingerprint="f"
    )
    assert [o.study_id for o in outcomes] == list("abcde")
    assert [o.status for o in outcomes] == ["ok", "ok", "failed", "ok", "ok"]
    assert "invalid literal for int" in outcomes[2].reason
    assert [(tmp_path / "out" / f"{name}.nii.gz").read_text() for name in "abde"] == ["8", "0", "8", "8"]
    assert sorted(seen, key=lambda o: o.study_id) == outcomes
    assert [stage for name, stage in stages if name == "a"] == ["read", "predict", "write"]
    assert all(0 < o.peak_gib < 4 for o in outcomes)
    again = run(fake, inputs, tmp_path / "out", fingerprint="f")
    assert [o.status for o in again] == ["skipped", "skipped", "failed", "skipped", "skipped"]


def test_killed_worker_is_replaced_and_its_study_fails_after_a_second_try(fake, numbers, tmp_path, caplog):
    outcomes = run(fake, numbers(1, fake.KILLS, 3, fake.KILLS_ONCE, 5, 6), tmp_path / "out")
    assert [o.status for o in outcomes] == ["ok", "failed", "ok", "ok", "ok", "ok"]
    assert outcomes[1].reason == "killed, most likely for memory"
    assert "b: killed, most likely for memory; it is tried once more" in caplog.text
    assert not list((tmp_path / "out").glob(".*"))


def test_model_that_cannot_be_loaded_is_told_once(fake, numbers, tmp_path):
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        run(fake, numbers(1, 2), tmp_path / "out", fake.load_broken)


def test_workers_that_never_come_to_work_end_the_batch(fake, numbers, tmp_path):
    with pytest.raises(MedsegError, match=r"3 workers in a row ended while loading the model \(killed"):
        run(fake, numbers(1, 2), tmp_path / "out", fake.load_killed)


SCRIPT = """
import sys
from pathlib import Path
import fake_batch as fake
if __name__ == "__main__":
    from medseg.batch.studies import segment_studies
    from medseg.batch import workers
    from medseg.signals import interrupt_on_sigterm
    workers._LEAVING_S = 0.2  # their files will never be finished
    inputs, output = fake.inputs_of(Path(sys.argv[1])), Path(sys.argv[2])
    with interrupt_on_sigterm():
        segment_studies(fake.load, inputs, output, read=fake.read, write=fake.write, workers=2)
"""


def hanging(fake, numbers, tmp_path):
    """A batch of two workers, both in the middle of a file that will never be finished."""
    script, output = tmp_path / "script.py", tmp_path / "out"
    script.write_text(SCRIPT)
    inputs = numbers(fake.HANGS, fake.HANGS, fake.HANGS)
    driver = subprocess.Popen([sys.executable, script, inputs[0].path.parent, output], stderr=subprocess.PIPE)
    while sum(bool(path.read_text()) for path in output.glob(".????????.*.nii.gz")) < 2:
        time.sleep(0.01)
    return driver, output


def children(pid):
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [int(child) for child in found]


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # dead, and nobody has asked yet how it ended


def test_workers_end_with_the_process_that_started_them(fake, numbers, tmp_path):
    driver, output = hanging(fake, numbers, tmp_path)
    workers = children(driver.pid)
    assert len(workers) >= 2
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    while any(map(alive, workers)):
        time.sleep(0.01)
    outcomes = run(fake, numbers(1, 2, 3), output, workers=1)  # and leave nothing that is in the way
    assert [o.status for o in outcomes] == ["ok", "ok", "ok"]
    assert sorted(p.name for p in output.iterdir()) == ["a.nii.gz", "b.nii.gz", "c.nii.gz", "segment.jsonl"]


def test_sigterm_ends_all_processes_and_leaves_nothing_half_written(fake, numbers, tmp_path):
    driver, output = hanging(fake, numbers, tmp_path)
    workers = children(driver.pid)
    driver.send_signal(signal.SIGTERM)
    assert "KeyboardInterrupt: SIGTERM" in driver.communicate(timeout=60)[1].decode()
    assert driver.returncode != 0
    while any(map(alive, workers)):
        time.sleep(0.01)
    assert list(output.iterdir()) == []
