"""A budget of memory, kept by smaller batches and sums of half the size; what cannot be kept is refused beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from medseg.errors import StudyError

_GIB = 2**30
_RELEASED = 8
"""Slices of scores on their way out of the slab, and their copies: see ``inference.slab``."""


@dataclass(frozen=True)
class Plan:
    """How a study is segmented within a budget.

    Attributes:
        batch_size: windows a forward pass.
        dtype: of the sums of scores.
        expected_gib: peak of the process, as far as can be known.
    """

    batch_size: int
    dtype: torch.dtype
    expected_gib: float


def plan(
    memory_gib: float,
    *,
    batch_size: int,
    window_bytes: int,
    plane: Sequence[int],
    depth: int,
    num_scores: int,
    native_bytes: int,
) -> Plan:
    """Choose the batch and the precision of the sums.

    Args:
        memory_gib: the process's whole memory at most, the study and all libraries included.
        batch_size: windows a forward pass at most.
        window_bytes: what one window of a forward pass takes.
        plane: voxels of the network grid along I and J.
        depth: slices that a layer of windows covers.
        num_scores: scores a voxel.
        native_bytes: what will be held on the study's own grid beside the image.

    Raises:
        StudyError: it does not fit; says how much it takes.
    """
    held = resident_bytes()
    voxels = math.prod(plane)
    for dtype, size in ((torch.float32, 4), (torch.float16, 2)):
        fixed = held + native_bytes + voxels * num_scores * (depth * size + 3 * _RELEASED * 4)
        fits = int((memory_gib * _GIB - fixed) // max(1, window_bytes))
        if fits >= 1:
            batch = min(batch_size, fits)
            return Plan(batch, dtype, (fixed + batch * window_bytes) / _GIB)
    raise StudyError(
        f"expected to fit inference.memory_gib {memory_gib:g}, and it takes at least "
        f"{(fixed + window_bytes) / _GIB:.2f} GiB; allow that much, or take a smaller window"
    )


def resident_bytes() -> int:
    """What this process holds now; 0 where the system does not say."""
    return _status("VmRSS")


def bytes_of(work: Callable[[], object]) -> int:
    """What ``work`` takes beyond what was held before it, at its peak; 0 where the system does not say."""
    before = resident_bytes()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    except OSError:
        return 0
    work()
    return max(0, _status("VmHWM") - before)


def _status(key: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), 0)
