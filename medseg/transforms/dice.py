"""Which augmentations a patch gets."""

from __future__ import annotations

from typing import Protocol, TypeVar

from numpy.random import Generator


class Part(Protocol):
    """One section of the augmentation's settings."""

    @property
    def probability(self) -> float:
        """Its chance."""
        ...


P = TypeVar("P", bound=Part)


def drawn(part: P | None, rng: Generator) -> P | None:
    """The part if the dice want it, else None.

    They are rolled for a part that is off too, so that the other parts draw the same numbers without it.
    """
    chance = 0.0 if part is None else part.probability
    return part if rng.random() < chance else None
