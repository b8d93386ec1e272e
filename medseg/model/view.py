"""How a network sees a study: as slices (2D), as slabs of neighbouring slices (2.5D) or as patches (3D)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator

from medseg.settings import settings
from medseg.types import Mode, Shape3


@settings
class View:
    """What lies in the channels of the network's input, and along how many axes it looks."""

    mode: Mode = "patch"
    """slice, slab or patch."""
    slab_neighbours: Annotated[int, Field(ge=0)] = 0
    """Slices on each side of the centre that become channels: 1 or more in mode slab, else 0."""

    @model_validator(mode="after")
    def _neighbours_belong_to_slabs(self) -> View:
        if (self.mode == "slab") != (self.slab_neighbours > 0):
            raise ValueError(f"slab_neighbours: {self.slab_neighbours} does not go with mode {self.mode}")
        return self

    @property
    def spatial_dims(self) -> int:
        """Axes that the network's convolutions run along: 3 for patches, else 2."""
        return 3 if self.mode == "patch" else 2

    @property
    def in_channels(self) -> int:
        """Channels of the network's input."""
        return 2 * self.slab_neighbours + 1

    def slices(self, k: int, depth: int) -> list[int]:
        """The slices that become channels where slice ``k`` is the centre; beyond the ends the last one is repeated.

        Args:
            k: the centre.
            depth: slices of the study.
        """
        n = self.slab_neighbours
        return [min(max(s, 0), depth - 1) for s in range(k - n, k + n + 1)]

    def extent(self, size: Sequence[int]) -> Shape3:
        """Voxels along I, J and K of a patch or window as the settings have it: slices and slabs are one slice deep.

        Raises:
            ValueError: not as many numbers as the network has axes.
        """
        if len(size) != self.spatial_dims:
            raise ValueError(f"expected {self.spatial_dims} numbers in mode {self.mode}, found {list(size)}")
        i, j, k = (*size, 1)[:3]
        return i, j, k
