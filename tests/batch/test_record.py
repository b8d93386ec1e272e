"""The record: whole lines whatever happens, and the last ending of each study."""

import errno
import json
import os
from dataclasses import asdict

import pytest

from medseg.batch import record as module
from medseg.batch.record import Outcome, Record, fingerprint, input_digest
from medseg.types import StudyInput


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_last_ending_of_a_study_is_known_and_skips_are_passed_over(tmp_path):
    record = Record(tmp_path / "r.jsonl")
    failed, ok = Outcome("a", "failed", "why"), Outcome("a", "ok", notes=("n",), voxels=8)
    for outcome in (failed, ok, Outcome("a", "skipped"), Outcome("b", "failed")):
        record.append(outcome)
    assert record.last("a") is None  # not read yet
    record.refresh()
    assert (record.last("a"), record.last("b"), record.last("c")) == (ok, Outcome("b", "failed"), None)
    assert lines(record.path)[1] == {**asdict(ok), "notes": ["n"]}


def test_what_was_there_on_opening_is_told_from_what_came_since(tmp_path):
    Record(tmp_path / "r.jsonl").append(Outcome("a", "ok"))
    mine, other = Record(tmp_path / "r.jsonl"), Record(tmp_path / "r.jsonl")
    assert mine.last("a") == Outcome("a", "ok")
    assert mine.last("a", since_start=True) is None
    other.append(Outcome("a", "failed", "x"))
    mine.refresh()
    assert mine.last("a", since_start=True) == Outcome("a", "failed", "x")


@pytest.mark.parametrize("torn", ['{"study_id": "b", "sta', "{}", "[1]", '"text"', "\x00\xff" * 40], ids=range(5))
def test_torn_last_line_costs_no_other(tmp_path, torn):
    record = Record(tmp_path / "r.jsonl")
    record.append(Outcome("a", "ok"))
    with record.path.open("ab") as file:
        file.write(torn.encode("latin1"))
    again = Record(record.path)
    assert again.last("a") == Outcome("a", "ok")
    again.append(Outcome("c", "ok"))
    again.refresh()
    assert again.last("c") == Outcome("c", "ok")
    assert record.path.read_bytes().splitlines()[1] == torn.encode("latin1")
    assert Record(record.path).last("c") == Outcome("c", "ok")


def test_half_a_line_is_not_read_before_its_end(tmp_path):
    record = Record(tmp_path / "r.jsonl")
    text = json.dumps(asdict(Outcome("a", "ok"))) + "\n"
    record.path.write_text(text[:20])
    record.refresh()
    assert record.last("a") is None
    record.path.write_text(text)
    record.refresh()
    assert record.last("a") == Outcome("a", "ok")


def test_line_that_a_full_disk_refused_comes_with_the_next_and_leaves_no_half(tmp_path, monkeypatch, caplog):
    record = Record(tmp_path / "r.jsonl")
    record.append(Outcome("a", "ok"))
    write, calls = os.write, []

    def full(descriptor, text):
        calls.append(text)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, text[:10])

    monkeypatch.setattr(module.os, "write", full)
    record.append(Outcome("b", "ok"))
    assert "the line of b cannot be written yet" in caplog.text
    assert [line["study_id"] for line in lines(record.path)] == ["a"]
    monkeypatch.undo()
    record.append(Outcome("c", "failed"))
    assert [line["study_id"] for line in lines(record.path)] == ["a", "b", "c"]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    (folder / "weights.safetensors").write_bytes(b"weights")
    return folder


def test_fingerprint_changes_with_weights_description_settings_order_and_version(folder, monkeypatch):
    before = fingerprint([folder], {"overlap": 0.5, "masks": ["liver"]})
    assert len(before) == 32
    assert fingerprint([folder.parent], {"masks": ["liver"], "overlap": 0.5}) == before
    found = {before, fingerprint([folder], {}), fingerprint([folder, folder], {"overlap": 0.5, "masks": ["liver"]})}
    (folder / "weights.safetensors").write_bytes(b"weighty")
    found.add(fingerprint([folder], {}))
    (folder / "model.json").write_text("[]")
    found.add(fingerprint([folder], {}))
    monkeypatch.setattr(module, "__version__", "9.9")
    found.add(fingerprint([folder], {}))
    assert len(found) == 6


def test_input_digest_follows_size_time_and_series_but_not_the_place(tmp_path):
    file = tmp_path / "a.nii"
    file.write_bytes(b"12")
    os.utime(file, ns=(1, 1_000_000_001))
    before = input_digest(StudyInput("a", file))
    moved = file.rename(tmp_path / "b.nii")
    assert input_digest(StudyInput("b", moved)) == before
    os.utime(moved, ns=(1, 1_000_000_002))
    later = input_digest(StudyInput("b", moved))
    moved.write_bytes(b"123")
    os.utime(moved, ns=(1, 1_000_000_002))
    assert len({before, later, input_digest(StudyInput("b", moved)), input_digest(StudyInput("b", moved, "1.2"))}) == 4


def test_input_digest_of_a_folder_follows_every_file(tmp_path):
    folder = tmp_path / "dicom"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "1.dcm").write_bytes(b"1")
    before = input_digest(StudyInput("a", folder))
    (folder / "2.dcm").write_bytes(b"2")
    with_two = input_digest(StudyInput("a", folder))
    (folder / "2.dcm").rename(folder / "3.dcm")
    assert len({before, with_two, input_digest(StudyInput("a", folder))}) == 3


def test_input_that_is_not_there_has_no_digest(tmp_path):
    assert input_digest(StudyInput("a", tmp_path / "a.nii")) == ""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert input_digest(StudyInput("a", tmp_path / "loop")) == ""
