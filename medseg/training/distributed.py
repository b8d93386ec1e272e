"""The few facts that several training processes share; a single process is a world of one.

Processes are started by torchrun, which sets RANK, WORLD_SIZE and LOCAL_RANK; gloo on CPU, NCCL on CUDA.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class World:
    """This process among its peers."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """The process that validates, writes and reports."""
        return self.rank == 0


ALONE = World()
"""A single process."""


def world_from_environment() -> World:
    """What torchrun says; a world of one without it."""
    return World(*(int(os.environ.get(k, d)) for k, d in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))))


@contextmanager
def process_group(world: World, device: torch.device) -> Iterator[None]:
    """Join the other processes for the length of the block (nothing to do in a world of one)."""
    if world.size == 1:
        yield
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def from_main(world: World, value: object) -> object:
    """The main process's value, on every process."""
    if world.size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def any_process(world: World, flag: bool, device: torch.device) -> bool:
    """Whether any process raises the flag, so that all stop at the same step."""
    if world.size == 1:
        return flag
    raised = torch.tensor([int(flag)], device=device)
    dist.all_reduce(raised, op=dist.ReduceOp.MAX)
    return bool(raised.item())
