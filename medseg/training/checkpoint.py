"""What survives a kill: the training state as tensors and plain numbers, written whole or not at all.

A checkpoint is read with ``weights_only=True``: nothing in it is executed.
"""

from __future__ import annotations

import errno
import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from medseg.errors import CheckpointError
from medseg.files import atomic_path

CHECKPOINT_FORMAT = 1
"""Version of last.ckpt and best.ckpt."""


@dataclass
class TrainingState:
    """Where training stands; all of it goes into the checkpoint.

    Attributes:
        step: optimiser steps done.
        elapsed_s: seconds of training so far, over all resumes.
        clock: seconds of training at the start of the current epoch, and seconds an epoch takes, where there is a
            wall-clock budget; fixed for the length of an epoch so that a resumed epoch has the same learning rates.
        loss_sums: sum of each loss over the current epoch's steps.
        best_score: best validation score so far (None before the first).
        best_epoch: its epoch.
        stale_validations: validations since.
        finished: training ended by itself (last epoch, budget or early stopping).
        history: one row an epoch: every number that was logged.
    """

    step: int = 0
    elapsed_s: float = 0.0
    clock: tuple[float, float] = (0.0, 0.0)
    loss_sums: dict[str, float] = field(default_factory=dict)
    best_score: float | None = None
    best_epoch: int = 0
    stale_validations: int = 0
    finished: str = ""
    history: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(path: Path, tensors: dict[str, Any], state: TrainingState) -> None:
    """Write the state dicts and the state beside the place and rename them into it.

    Raises:
        OSError: the disk is full or the folder cannot be written; the former checkpoint stays whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        try:
            torch.save({"format": CHECKPOINT_FORMAT, "state": asdict(state), **tensors}, temporary)
        except RuntimeError as error:  # so torch's writer reports that the disk took less than it was given
            raise OSError(errno.ENOSPC, "the checkpoint could not be written; is the disk full?", str(path)) from error


def load_checkpoint(path: Path) -> tuple[dict[str, Any], TrainingState]:
    """Read what ``save_checkpoint`` wrote.

    Raises:
        CheckpointError: missing, truncated, of a newer format, or holding anything but tensors and plain values.
    """
    if not path.is_file():
        raise CheckpointError(f"nothing to resume: {path} does not exist")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: not a whole checkpoint ({type(error).__name__}: {error})") from error
    if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
        raise CheckpointError(f"{path}: expected a medseg checkpoint of format {CHECKPOINT_FORMAT}")
    state = content.pop("state")
    del content["format"]
    state["clock"] = tuple(state["clock"])
    return content, TrainingState(**state)
