"""The spool alone: no store and no MLflow."""

import logging
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import TrackingError
from medseg.tracking.spool import Sent, Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "run")


def calls(spool: Spool) -> list[str]:
    return [record.call for record in spool.all()]


def test_records_come_back_in_order_with_their_arguments(spool: Spool) -> None:
    assert list(spool.all()) == []
    assert spool.append("log_metrics", metrics={"loss": np.float32(0.5)}, step=np.int64(3))
    assert spool.append("set_tags", tags={"place": Path("a/b"), "word": "größer\n"})
    first, second = spool.all()
    assert (first.call, first.arguments) == ("log_metrics", {"metrics": {"loss": 0.5}, "step": 3})
    assert second.arguments == {"tags": {"place": "a/b", "word": "größer\n"}}
    assert first.key != second.key
    assert first.time_ms <= second.time_ms
    assert [record.call for record in spool.read(first.end)] == ["set_tags"]
    assert spool.read(second.end) == []


def test_torn_last_line_is_ignored_and_does_not_spoil_the_next(spool: Spool, caplog) -> None:
    spool.append("first")
    spool.append("second")
    whole = spool.path.read_bytes()
    spool.path.write_bytes(whole[:-9])  # as a kill in the middle of the write leaves it
    assert calls(spool) == ["first"]
    with caplog.at_level(logging.WARNING, logger="medseg"):
        Spool(spool.run_folder).append("third")
        assert calls(spool) == ["first", "third"]
    assert "a torn record" in caplog.text


@pytest.mark.parametrize("junk", [b"\n", b"null\n", b'{"call": 1}\n', b"\xff\xfe\n", b"[" * 3_000_000 + b"\n"])
def test_lines_that_are_no_records_are_passed_over(spool: Spool, junk: bytes) -> None:
    spool.append("first")
    with spool.path.open("ab") as file:
        file.write(junk)
    spool.append("second")
    assert calls(spool) == ["first", "second"]


def test_line_cut_at_every_byte_never_gives_a_wrong_record(spool: Spool) -> None:
    spool.append("log_metrics", metrics={"dice": 0.25}, step=1)
    whole = spool.path.read_bytes()
    for length in range(len(whole) - 1):  # without only its line break, it is whole
        spool.path.write_bytes(whole[:length])
        assert calls(spool) == []
        spool.append("after")
        assert calls(spool) == ["after"]


def test_small_file_is_kept_as_it_was(spool: Spool) -> None:
    picture = spool.run_folder / "overlay.png"
    picture.parent.mkdir()
    picture.write_text("epoch 1")
    reference = spool.keep(picture)
    picture.write_text("epoch 2")
    assert spool.file(reference).read_text() == "epoch 1"
    assert spool.file(reference).name == "overlay.png"
    spool.release(reference)
    assert not spool.file(reference).exists()
    assert picture.read_text() == "epoch 2"


def test_large_file_and_folder_stay_in_their_place_wherever_the_run_folder_moves(
    spool: Spool, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr("medseg.tracking.spool._COPIED_BYTES", 3)
    model = spool.run_folder / "model"
    model.mkdir(parents=True)
    (model / "weights").write_text("many")
    references = [spool.keep(model), spool.keep(model / "weights")]
    outside = tmp_path / "outside"
    outside.write_text("large")
    assert spool.file(spool.keep(outside)) == outside
    moved = Spool(spool.run_folder.rename(tmp_path / "moved"))
    assert moved.file(references[0]) == tmp_path / "moved" / "model"
    assert moved.file(references[1]).read_text() == "many"
    moved.release(references[1])
    assert moved.file(references[1]).is_file()


def test_missing_file_cannot_be_kept(spool: Spool, tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        spool.keep(tmp_path / "absent")


def test_what_was_sent_is_remembered(spool: Spool) -> None:
    assert spool.sent == Sent()
    spool.append("first")
    spool.sent = Sent(12, "run", "3", "sqlite:///x", ("a", "b"))
    assert Spool(spool.run_folder).sent == Sent(12, "run", "3", "sqlite:///x", ("a", "b"))


def test_full_disk_is_one_warning_a_kind_and_no_error(spool: Spool, monkeypatch, caplog) -> None:
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with caplog.at_level(logging.WARNING, logger="medseg"):
        assert [spool.append("log_metrics", step=step) for step in range(3)] == [False] * 3
    assert len(caplog.records) == 1
    assert "No space left" in caplog.text


def _try_to_send(folder: Path, answer) -> None:
    try:
        with Spool(folder).sending():
            answer.put("sends")
            os._exit(9)  # as a kill does: nothing is tidied up
    except TrackingError as error:
        answer.put(str(error))


def test_one_process_sends_at_a_time_and_a_dead_one_holds_nothing(spool: Spool) -> None:
    context = multiprocessing.get_context("spawn")

    def other() -> str:
        answer = context.SimpleQueue()
        process = context.Process(target=_try_to_send, args=(spool.run_folder, answer))
        process.start()
        said = answer.get()
        process.join()
        return said

    with spool.sending():
        assert "is being recorded by another process" in other()
    assert other() == "sends"
    with spool.sending():
        pass
