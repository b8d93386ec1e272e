"""What survives a kill, a full disk, and a file that is not ours."""

import pickle
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from medseg.errors import CheckpointError
from medseg.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint


def _state() -> TrainingState:
    return TrainingState(
        step=7,
        elapsed_s=12.5,
        clock=(10.0, 2.0),
        loss_sums={"loss": 1.5, "dice": 0.5},
        best_score=0.75,
        best_epoch=2,
        stale_validations=1,
        finished="last epoch",
        history=[{"epoch": 1.0, "step": 5.0, "train/loss": 0.3}],
    )


def _tensors(value: float = 1.0) -> dict[str, Any]:
    return {"network": {"weight": torch.full((2, 3), value)}, "average": None}


def test_round_trip_gives_the_same_state_and_tensors(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    save_checkpoint(path, _tensors(), _state())
    tensors, state = load_checkpoint(path)
    assert state == _state()
    assert tensors.keys() == {"network", "average"}
    assert torch.equal(tensors["network"]["weight"], torch.ones(2, 3))
    assert tensors["average"] is None
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


def test_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing to resume: .*last\.ckpt does not exist"):
        load_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_checkpoint_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, _tensors(), _state())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"last\.ckpt: not a whole checkpoint"):
        load_checkpoint(path)


class _Malicious:
    """Creates a file when unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.witness,)


@pytest.mark.parametrize("writer", [torch.save, partial(pickle.dump, protocol=2)], ids=["torch", "pickle"])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, writer: Any) -> None:
    path, witness = tmp_path / "last.ckpt", tmp_path / "executed"
    with path.open("wb") as file:
        writer({"format": 1, "state": _Malicious(witness)}, file)
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        load_checkpoint(path)
    assert not witness.exists()


def test_other_formats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    for content in ({"format": 2, "state": {}}, {"weight": torch.ones(1)}, [1, 2]):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match="expected a medseg checkpoint of format 1"):
            load_checkpoint(path)


def test_full_disk_leaves_the_old_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, _tensors(1.0), _state())

    def full(content: Any, place: Path) -> None:
        place.write_bytes(b"half of it")
        raise OSError(28, "No space left on device", str(place))

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left on device"):
        save_checkpoint(path, _tensors(2.0), TrainingState(step=8))
    tensors, state = load_checkpoint(path)
    assert state.step == 7
    assert torch.equal(tensors["network"]["weight"], torch.ones(2, 3))
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


@contextmanager
def files_of_at_most_1000_bytes() -> Iterator[None]:
    """The system refuses to write more, as a full disk does; torch's own writer meets it.

    For as long as the block only: the tests' own report may go into a longer file.
    """
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_write_that_the_system_cuts_short_is_an_os_error(tmp_path: Path) -> None:
    expected = pytest.raises(OSError, match="could not be written; is the disk full")
    with expected as raised, files_of_at_most_1000_bytes():
        save_checkpoint(tmp_path / "last.ckpt", {"network": {"weight": torch.zeros(10_000)}}, _state())
    assert raised.value.filename == str(tmp_path / "last.ckpt")
    assert list(tmp_path.iterdir()) == []
