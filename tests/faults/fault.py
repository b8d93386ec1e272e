"""What a fault is: one way to spoil a good study, and how a batch may answer to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np

FAILED = frozenset({"failed"})
"""The study must be refused with a reason."""

HARMLESS = frozenset({"ok"})
"""The file is odd and means what it says: it must be segmented."""

EITHER = FAILED | HARMLESS
"""Some seeds hit what matters, some do not: refused, or segmented on the grid that the file gives."""

Spoil = Callable[[Path, np.random.Generator], Path]
"""Writes one bad study under a path without a suffix, and returns where it lies."""


@dataclass(frozen=True)
class Fault:
    """One bad study.

    Attributes:
        kind: what is wrong, the name of the function that does it.
        seed: which of the kind's many forms.
        spoil: see ``Spoil``.
        allowed: statuses that the batch may give.
    """

    kind: str
    seed: int
    spoil: Spoil
    allowed: frozenset[str] = FAILED

    @property
    def study_id(self) -> str:
        """Unique among all faults, fit for a manifest."""
        return f"{self.kind}-{self.seed}"

    def make(self, folder: Path) -> Path:
        """Write it into ``folder``; equal kind and seed give equal bytes."""
        rng = np.random.default_rng([crc32(self.kind.encode()), self.seed])
        return self.spoil(folder / self.study_id, rng)


def faults_of(spoil: Spoil, seeds: int, allowed: frozenset[str] = FAILED) -> Iterator[Fault]:
    """``seeds`` faults of one kind."""
    for seed in range(seeds):
        yield Fault(spoil.__name__, seed, spoil, allowed)
