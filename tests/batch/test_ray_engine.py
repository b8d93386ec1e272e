"""A real Ray on this machine: the same outcomes as one process, actors lost and replaced."""

import json
import subprocess
import sys

import pytest

from medseg.batch.studies import segment_studies
from medseg.errors import CheckpointError, MedsegError

ray = pytest.importorskip("ray")


def run(fake, inputs, output, load=None, **options):
    return segment_studies(
        load or fake.load, inputs, output, read=fake.read, write=fake.write, engine="ray", **{"workers": 1, **options}
    )


@pytest.fixture
def cluster(fake):
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
def test_actors_do_what_one_process_does_and_lost_ones_are_replaced(cluster, fake, numbers, tmp_path, monkeypatch):
    inputs = numbers(1, -2, None, fake.KILLS, 5, fake.KILLS_ONCE)
    stages = []
    outcomes = run(fake, inputs, tmp_path / "out", fingerprint="f", on_stage=lambda *s: stages.append(s), workers=0)
    assert [o.status for o in outcomes] == ["ok", "ok", "failed", "failed", "ok", "ok"]
    assert "invalid literal for int" in outcomes[2].reason
    assert "its Ray actor was lost" in outcomes[3].reason
    assert [(tmp_path / "out" / f"{name}.nii.gz").read_text() for name in "abef"] == ["8", "0", "8", "8"]
    assert ("a", "segment") in stages
    record = [json.loads(line) for line in (tmp_path / "out" / "segment.jsonl").read_text().splitlines()]
    assert sorted(line["study_id"] for line in record) == list("abcdef")
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.suffix != ".gz") == ["segment.jsonl"]
    monkeypatch.chdir(tmp_path)
    again = run(fake, inputs[:2], (tmp_path / "out").relative_to(tmp_path), fingerprint="f")
    assert [o.status for o in again] == ["skipped", "skipped"]
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        run(fake, inputs[:1], tmp_path / "broken", fake.load_broken)
    assert ray.is_initialized()  # what was connected before stays so


def test_without_a_cluster_it_is_said_what_to_do(fake, numbers, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(MedsegError, match=r"at '127\.0\.0\.1:1': start one with `ray start --head`"):
        run(fake, numbers(1), tmp_path / "out")


def refuse(**options):
    raise ConnectionError(f"nobody at {options['address']}")


def test_without_ray_it_is_said_what_to_install(fake, numbers, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MedsegError, match=r"pip install 'medseg\[ray\]'"):
        run(fake, numbers(1), tmp_path / "out")


def test_ray_is_imported_only_where_it_is_asked_for():
    code = "import sys, medseg.batch.studies; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
