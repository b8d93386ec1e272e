"""Batches that a resumed run repeats exactly: batch b of the run holds samples b * size ... (b + 1) * size - 1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from torch.utils.data import DataLoader, Dataset, Sampler

from medseg.data.dataset import Sample


class BatchRange(Sampler[list[int]]):
    """Sample indices of batches ``first`` to ``last - 1``; each process of a distributed run takes its own share.

    Args:
        first: first batch.
        last: one past the last batch.
        batch_size: samples of a batch over all processes; a multiple of ``world_size``.
        rank: this process.
        world_size: processes.
    """

    def __init__(self, first: int, last: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.batches = range(first, last)
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        mine = range(self.rank, self.batch_size, self.world_size)
        for batch in self.batches:
            yield [batch * self.batch_size + i for i in mine]


class Stream(Protocol):
    """Batches by number: batch b is the same whoever asks for it, and however often."""

    def batches(self, first: int, last: int) -> Iterable[Sample]:
        """Batches ``first`` to ``last - 1`` in order: this process's share of each."""
        ...


@dataclass(frozen=True, eq=False)
class Batches:
    """A stream that stacks the samples of an endless dataset; the same with any number of workers.

    Attributes:
        dataset: sample ``index`` is a function of the index alone.
        batch_size: samples of a batch over all processes; a multiple of ``world_size``.
        num_workers: processes that prepare batches; 0 prepares them in this one.
        rank: this process.
        world_size: processes.
        pin_memory: for quicker copies to a GPU.
    """

    dataset: Dataset[Sample]
    batch_size: int
    num_workers: int = 0
    rank: int = 0
    world_size: int = 1
    pin_memory: bool = False

    def batches(self, first: int, last: int) -> DataLoader[Sample]:
        """See ``Stream``."""
        return DataLoader(
            self.dataset,
            batch_sampler=BatchRange(first, last, self.batch_size, rank=self.rank, world_size=self.world_size),
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            # forked workers of a multi-threaded parent may hang; a fresh interpreter never does
            multiprocessing_context="forkserver" if self.num_workers else None,
            prefetch_factor=4 if self.num_workers else None,
            persistent_workers=False,
        )
