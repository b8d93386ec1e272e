"""A run killed with SIGKILL in the middle of an epoch goes on as if it had not been killed.

The killed runs are real processes of the real command line. They kill themselves at a step drawn from a seed, so that
nothing depends on the clock: between two optimiser steps, or with a checkpoint half-written.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medseg import cli
from medseg.training.checkpoint import TrainingState, load_checkpoint

EPOCHS, STEPS_PER_EPOCH = 3, 4
EVERYTHING = [
    "name=killed",
    "network.dropout=0.3",
    f"training.epochs={EPOCHS}",
    f"training.steps_per_epoch={STEPS_PER_EPOCH}",
    "training.ema_decay=0.9",
    "training.optimizer={name: adamw, learning_rate: 0.01}",
    "augmentation.flip={axes: [R, A, S]}",
    "augmentation.rotate={probability: 0.5}",
    "augmentation.elastic={probability: 0.5}",
    "augmentation.noise={probability: 1.0}",
]
"""All that draws random numbers or carries a state from step to step."""

AFTER_A_STEP = """
import os, signal
from medseg.training import fit
plain, steps = fit.train_step, []
def train_step(*arguments, **keywords):
    totals = plain(*arguments, **keywords)
    steps.append(1)
    if len(steps) == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return totals
fit.train_step = train_step
from medseg.cli import main
main()
"""

IN_A_CHECKPOINT = """
import os, signal, torch
plain = torch.save
def save(content, path, *arguments, **keywords):
    if content["state"]["step"] == {step}:
        path.write_bytes(b"half a checkpoint")
        os.kill(os.getpid(), signal.SIGKILL)
    plain(content, path, *arguments, **keywords)
torch.save = save
from medseg.cli import main
main()
"""


def _drawn_step(seed: int) -> int:
    """A step in the middle of an epoch."""
    steps = range(1, EPOCHS * STEPS_PER_EPOCH)
    return random.Random(seed).choice([step for step in steps if step % STEPS_PER_EPOCH])


@dataclass(frozen=True)
class _Left:
    """What a training left in the only run folder there is."""

    folder: Path
    state: TrainingState
    run_id: str

    @classmethod
    def in_(cls, runs: Path) -> _Left:
        (folder,) = (runs / "killed").iterdir()
        _, state = load_checkpoint(folder / "checkpoints" / "last.ckpt")
        return cls(folder, state, json.loads((folder / "tracking.json").read_text())["run_id"])

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return load_file(self.folder / "model" / "weights.safetensors")

    @property
    def history(self) -> list[dict[str, float]]:
        """The rows without their clocks."""
        return [{k: v for k, v in row.items() if not k.endswith("_s")} for row in self.state.history]


@pytest.fixture(scope="module")
def arguments(write_tiny: Callable[[Path], Path], tracking_uri: str) -> Callable[[Path], list[str]]:
    """The command line that trains in a folder."""
    return lambda folder: ["train", str(write_tiny(folder)), *EVERYTHING, f"tracking={{uri: '{tracking_uri}'}}"]


@pytest.fixture(scope="module")
def uninterrupted(arguments: Callable[[Path], list[str]], tmp_path_factory: pytest.TempPathFactory) -> _Left:
    folder = tmp_path_factory.mktemp("uninterrupted")
    _here(arguments(folder))
    return _Left.in_(folder / "runs")


def _here(command: list[str]) -> None:
    """The command line in this process, which saves the seconds of a start."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["medseg", *command])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert not ended.value.code


def _process(*command: str, log: Path) -> int:
    # not a pipe: worker processes outlive a killed parent by seconds and would hold it open
    with log.open("w") as file:
        return subprocess.run([sys.executable, *command], stdout=file, stderr=file, timeout=300, check=False).returncode


@pytest.mark.parametrize(
    ("killer", "seed", "overrides", "resumes_from"),
    [
        (AFTER_A_STEP, 1, [], lambda step: step - step % STEPS_PER_EPOCH),
        (IN_A_CHECKPOINT, 2, ["data.num_workers=2", "training.checkpoint_every_s=0"], lambda step: step - 1),
    ],
    ids=["between steps without workers", "in a checkpoint with 2 workers"],
)
def test_killed_and_resumed_run_is_bit_for_bit_the_uninterrupted_one(
    killer: str,
    seed: int,
    overrides: list[str],
    resumes_from: Callable[[int], int],
    arguments: Callable[[Path], list[str]],
    uninterrupted: _Left,
    mlflow_client: Any,
    tmp_path: Path,
) -> None:
    step, log = _drawn_step(seed), tmp_path / "log.txt"
    command = [*arguments(tmp_path), *overrides]
    assert _process("-c", killer.format(step=step), *command, log=log) == -signal.SIGKILL, log.read_text()
    killed = _Left.in_(tmp_path / "runs")
    assert killed.state.step == resumes_from(step)
    assert mlflow_client.get_run(killed.run_id).info.status == "RUNNING"

    command += ["--resume", "last"]
    if overrides:
        assert _process("-m", "medseg", *command, log=log) == 0, log.read_text()
    else:
        _here(command)
    resumed = _Left.in_(tmp_path / "runs")
    assert resumed.run_id == killed.run_id
    assert resumed.history == uninterrupted.history
    assert resumed.weights.keys() == uninterrupted.weights.keys()
    different = [name for name, value in resumed.weights.items() if not torch.equal(value, uninterrupted.weights[name])]
    assert different == []
    assert mlflow_client.get_run(resumed.run_id).info.status == "FINISHED"
    for name in ("train/loss", "learning_rate", "val/dice/liver"):
        curve, expected = (
            [(m.step, m.value) for m in mlflow_client.get_metric_history(run.run_id, name)]
            for run in (resumed, uninterrupted)
        )
        assert curve == expected
        assert [epoch for epoch, _ in curve] == [1, 2, 3]


def test_training_of_this_test_does_learn_and_depends_on_its_random_numbers(uninterrupted: _Left) -> None:
    """Otherwise equality would say nothing."""
    first, last = uninterrupted.history[0], uninterrupted.history[-1]
    assert last["train/loss"] < first["train/loss"]
    tensors, _ = load_checkpoint(uninterrupted.folder / "checkpoints" / "last.ckpt")
    average = {k.removeprefix("module."): v for k, v in tensors["average"].items()}
    assert any(not torch.equal(average[name], value) for name, value in tensors["network"].items())
