"""Many studies: each ended once, and a broken one stops none of the others."""

import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import fields

import numpy as np
import pytest

from medseg import files
from medseg.batch.record import Outcome, Record
from medseg.batch.studies import segment_studies
from medseg.inference.load import load_segmenter
from medseg.study.nifti import read_image, write_image
from medseg.types import Grid, StudyInput


@pytest.fixture
def studies(tmp_path):
    """good, cut (short), gone (not there), last: all inputs but two can be read."""
    for name in ("good", "cut", "last"):
        voxels = np.random.default_rng(0).integers(-200, 300, (12, 10, 8)).astype(np.int16)
        write_image(tmp_path / f"{name}.nii.gz", voxels, Grid(voxels.shape, np.diag([-6.0, 6.0, 5.0, 1.0])))
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(cut.read_bytes()[:-100])
    return [StudyInput(name, tmp_path / f"{name}.nii.gz") for name in ("good", "cut", "gone", "last")]


def lines(output):
    return [json.loads(line) for line in (output / "segment.jsonl").read_text().splitlines()]


def statuses(outcomes):
    return {o.study_id: o.status for o in outcomes}


def test_broken_studies_fail_with_their_reason_and_the_others_are_segmented(model, studies, tmp_path, caplog):
    seen = []
    output = tmp_path / "out" / "deep"
    outcomes = segment_studies(load_segmenter(model()[0], "cpu"), studies, output, on_done=seen.append)
    assert outcomes == seen
    assert [(o.study_id, o.status) for o in outcomes] == [
        ("good", "ok"),
        ("cut", "failed"),
        ("gone", "failed"),
        ("last", "ok"),
    ]
    assert "cut short" in outcomes[1].reason
    assert "no such file" in outcomes[2].reason
    assert [o.reason for o in outcomes if o.status == "ok"] == ["", ""]
    assert [o.segmentation for o in outcomes] == [str(output / "good.nii.gz"), "", "", str(output / "last.nii.gz")]
    assert sorted(p.name for p in output.iterdir()) == ["good.nii.gz", "last.nii.gz", "segment.jsonl"]
    assert read_image(output / "good.nii.gz").voxels.shape == (12, 10, 8)
    assert [record.message[:4] for record in caplog.records if record.levelname == "ERROR"] == ["cut:", "gone"]


def test_neighbours_of_broken_studies_are_bit_identical(model, studies, tmp_path):
    segmenter = load_segmenter(model()[0], "cpu")
    segment_studies(segmenter, studies, tmp_path / "with")
    segment_studies(segmenter, [studies[0], studies[3]], tmp_path / "without")
    for name in ("good.nii.gz", "last.nii.gz"):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()


def test_record_has_a_line_for_every_study_of_every_run(model, studies, tmp_path):
    segmenter = load_segmenter(model()[0], "cpu")
    segment_studies(segmenter, studies[:2], tmp_path / "out")
    segment_studies(segmenter, studies[3:], tmp_path / "out")
    found = lines(tmp_path / "out")
    assert [line["study_id"] for line in found] == ["good", "cut", "last"]
    assert set(found[0]) == {field.name for field in fields(Outcome)}
    assert found[0]["ended"] <= found[1]["ended"]
    assert found[0]["voxels"] == 12 * 10 * 8
    assert found[0]["total_s"] > 0


def test_second_run_skips_what_is_done_and_tries_again_what_failed(model, studies, tmp_path):
    segmenter = load_segmenter(model()[0], "cpu")

    def run(inputs=studies, **options):
        return statuses(segment_studies(segmenter, inputs, tmp_path / "out", **{"fingerprint": "one", **options}))

    first = {"good": "ok", "cut": "failed", "gone": "failed", "last": "ok"}
    second = {**first, "good": "skipped", "last": "skipped"}
    assert run() == first
    assert run() == second
    assert run(again=True) == first
    assert run(fingerprint="two") == first
    assert run(fingerprint="") == first  # nothing is known of the model
    assert run() == first  # the label maps are of another run by now
    (tmp_path / "out" / "good.nii.gz").unlink()
    assert run() == {**second, "good": "ok"}
    os.utime(studies[3].path, ns=(1, 1))
    assert run() == {**second, "last": "ok"}
    assert run() == second
    assert lines(tmp_path / "out")[-4]["reason"] == "done before"


def test_full_disk_fails_the_study_that_met_it_and_leaves_nothing_of_it(model, studies, tmp_path, monkeypatch):
    flush = files._flush

    def full(path):
        if path.name.endswith("good.nii.gz"):
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(path)

    monkeypatch.setattr(files, "_flush", full)
    outcomes = segment_studies(load_segmenter(model()[0], "cpu"), [studies[0], studies[3]], tmp_path / "out")
    assert statuses(outcomes) == {"good": "failed", "last": "ok"}
    assert "No space left on device" in outcomes[0].reason
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["last.nii.gz", "segment.jsonl"]


def test_output_folder_that_is_the_input_folder_costs_no_image(model, studies, tmp_path):
    before = studies[0].path.read_bytes()
    (outcome,) = segment_studies(load_segmenter(model()[0], "cpu"), studies[:1], tmp_path)
    assert "would replace its own image" in outcome.reason
    assert studies[0].path.read_bytes() == before


def test_no_studies_have_no_outcomes(tmp_path):
    assert segment_studies(None, [], tmp_path / "out") == []


def test_several_processes_need_a_function_that_loads_the_model(fake, numbers, tmp_path):
    with pytest.raises(TypeError, match=r"functools\.partial"):
        segment_studies(fake.load(), numbers(1, 2), tmp_path / "out", workers=2)
    outcomes = segment_studies(fake.load, numbers(1), tmp_path / "out", read=fake.read, write=fake.write)
    assert statuses(outcomes) == {"a": "ok"}


def test_largest_files_are_begun_first_and_outcomes_come_in_the_order_of_the_inputs(fake, numbers, tmp_path):
    inputs, begun = [*numbers(1, 1000, 20), StudyInput("gone", tmp_path / "gone")], []
    outcomes = segment_studies(
        fake.load(),
        inputs,
        tmp_path / "out",
        read=fake.read,
        write=fake.write,
        largest_first=True,
        on_done=lambda outcome: begun.append(outcome.study_id),
    )
    assert begun == ["b", "c", "a", "gone"]
    assert [outcome.study_id for outcome in outcomes] == ["a", "b", "c", "gone"]


def started(fake, inputs, tmp_path, takes_s):
    command = [sys.executable, fake.__file__, inputs[0].path.parent, tmp_path / "out", str(takes_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_killed_run_goes_on_where_it_stopped(fake, numbers, tmp_path):
    """a and b are done; c is killed in the middle of its writing; d was never begun."""
    output, inputs = tmp_path / "out", numbers(1, 2, fake.HANGS, -4)
    killed = started(fake, inputs, tmp_path, 0.0)
    while not (half := list(output.glob(".????????.c.nii.gz"))) or not half[0].read_text():
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert [line["study_id"] for line in lines(output)] == ["a", "b"]
    with (output / "segment.jsonl").open("a") as file:
        file.write('{"study_id": "c", "stat')  # the kill may come here, too
    inputs[2].path.write_text("3")
    outcomes = segment_studies(fake.load(), inputs, output, read=fake.read, write=fake.write, fingerprint="f")
    assert statuses(outcomes) == {"a": "skipped", "b": "skipped", "c": "ok", "d": "ok"}
    assert {p.name: p.read_text() for p in output.iterdir() if p.name != "segment.jsonl"} == {
        "a.nii.gz": "8",
        "b.nii.gz": "8",
        "c.nii.gz": "8",
        "d.nii.gz": "0",
    }
    assert Record(output / "segment.jsonl").last("c").status == "ok"


def test_two_runs_into_one_folder_share_the_work(fake, numbers, tmp_path):
    inputs = numbers(*range(1, 13), None)
    runs = [started(fake, inputs, tmp_path, 0.05) for _ in range(2)]
    ended = [dict(word.split(":") for word in run.communicate(timeout=60)[0].split()) for run in runs]
    found = lines(tmp_path / "out")
    done = sorted(line["study_id"] for line in found if line["status"] == "ok")
    assert done == [study.study_id for study in inputs[:12]]  # each once
    names = {study.study_id for study in inputs}
    assert [set(run) for run in ended] == [names, names]  # and both know how each ended
    assert {run["m"] for run in ended} == {"failed"}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [*(f"{n}.nii.gz" for n in done), "segment.jsonl"]
