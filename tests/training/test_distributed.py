"""A world of one in this process; worlds of two gloo processes that agree, and that train as one process does."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as multiprocessing
from safetensors.torch import load_file
from torch import Tensor

from medseg.config.load import load_pipeline
from medseg.runs import build
from medseg.runs.stages import run
from medseg.training.checkpoint import load_checkpoint
from medseg.training.distributed import ALONE, World, any_process, from_main, process_group, world_from_environment

CPU = torch.device("cpu")


def test_without_torchrun_the_world_is_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert world_from_environment() == ALONE
    assert ALONE.is_main


def test_torchruns_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    world = world_from_environment()
    assert world == World(rank=5, size=8, local_rank=1)
    assert not world.is_main


def test_alone_values_and_flags_are_ones_own() -> None:
    with process_group(ALONE, CPU):
        assert not torch.distributed.is_initialized()
        assert from_main(ALONE, {"folder": 1}) == {"folder": 1}
        assert [any_process(ALONE, flag, CPU) for flag in (True, False)] == [True, False]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _of_two(rank: int, port: int, results: "multiprocessing.Queue[tuple[int, object, bool, bool]]") -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2")
    world = World(rank, 2, rank)
    with process_group(world, CPU):
        value = from_main(world, "of the main process" if world.is_main else None)
        one = any_process(world, rank == 1, CPU)
        none = any_process(world, False, CPU)
    results.put((rank, value, one, none))


def test_two_processes_share_the_main_ones_value_and_any_flag() -> None:
    port = _free_port()
    context = multiprocessing.get_context("fork")  # a fresh interpreter would import torch for seconds
    results = context.SimpleQueue()
    processes = [context.Process(target=_of_two, args=(rank, port, results), daemon=True) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert sorted(results.get() for _ in processes) == [
        (0, "of the main process", True, False),
        (1, "of the main process", True, False),
    ]


def _largest_difference(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    return max(float((b[name] - value).abs().max()) for name, value in a.items())


def test_two_processes_train_the_weights_of_one_with_the_same_global_batch(tiny: Path, tmp_path: Path) -> None:
    overrides = ["data.batch_size=4", "training.steps_per_epoch=4", "training.ema_decay=0.9"]
    log, two = tmp_path / "log.txt", tmp_path / "two"
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1"]
    command = [*torchrun, f"--master_port={_free_port()}", "-m", "medseg", "train", str(tiny), *overrides]
    with log.open("w") as file:
        done = subprocess.run(
            [sys.executable, *command, f"runs_dir={two}"], stdout=file, stderr=file, timeout=300, check=False
        )
    assert done.returncode == 0, log.read_text()
    assert log.read_text().count("run folder: ") == 1
    (folder,) = (two / "tiny").iterdir()

    config = load_pipeline(tiny, overrides)
    one = run(config, train_only=True).folder
    expected, found = (load_file(path / "model" / "weights.safetensors") for path in (one.path, folder))
    assert found.keys() == expected.keys()
    assert _largest_difference(expected, build.network(config).state_dict()) > 1e-3  # training did something
    assert _largest_difference(expected, found) < 1e-5
    histories = [load_checkpoint(path / "checkpoints" / "last.ckpt")[1].history for path in (one.path, folder)]
    scores = [[row["val/dice/liver"] for row in history] for history in histories]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)
