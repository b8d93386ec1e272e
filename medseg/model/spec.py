"""What model.json says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medseg.types import Mode


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to rebuild a network and to use it as it was trained; written as model.json.

    Attributes:
        network: name in NETWORKS.
        options: the network's own arguments.
        spatial_dims: 2 or 3.
        in_channels: channels of the network's input (2 * slab_neighbours + 1 for slabs).
        class_names: foreground names; num_classes = len + 1.
        mode: slice, slab or patch.
        slab_neighbours: slices on each side of the centre slice that become channels (0 unless mode is slab).
        preprocessing: arguments of ``transforms.preprocessing.Preprocessing``.
        inference: arguments of ``inference.sliding_window.Windows`` and of post-processing.
    """

    network: str
    options: Mapping[str, Any]
    spatial_dims: int
    in_channels: int
    class_names: tuple[str, ...]
    mode: Mode
    slab_neighbours: int
    preprocessing: Mapping[str, Any]
    inference: Mapping[str, Any]

    @property
    def num_classes(self) -> int:
        """Classes including background."""
        return len(self.class_names) + 1
