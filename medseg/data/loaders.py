"""Batches that a resumed run repeats exactly: batch b of the run holds samples b * size ... (b + 1) * size - 1."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import DataLoader, Sampler

from medseg.data.dataset import PatchDataset, Sample


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


def batches(
    dataset: PatchDataset, which: BatchRange, *, num_workers: int = 0, pin_memory: bool = False
) -> DataLoader[Sample]:
    """A loader over the given batches; the same samples with any number of workers."""
    return DataLoader(
        dataset,
        batch_sampler=which,
        num_workers=num_workers,
        pin_memory=pin_memory,
        # forked workers of a multi-threaded parent may hang; a fresh interpreter never does
        multiprocessing_context="forkserver" if num_workers else None,
        prefetch_factor=4 if num_workers else None,
        persistent_workers=False,
    )
