"""The table of ``medseg networks``: what there is and how many parameters it has, without allocating one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from medseg.networks import NETWORKS, build_network


@dataclass(frozen=True)
class NetworkRow:
    """One network with its default options.

    Attributes:
        name: key of NETWORKS.
        paper: title.
        year: of the paper.
        dims: spatial dimensions.
        encoders: choices of encoder.
        parameters_2d: trainable parameters, None where the network has no 2D form.
        parameters_3d: likewise in 3D.
        note: what to know before choosing it.
    """

    name: str
    paper: str
    year: int
    dims: tuple[int, ...]
    encoders: tuple[str, ...]
    parameters_2d: int | None
    parameters_3d: int | None
    note: str


def count_parameters(name: str, spatial_dims: int, in_channels: int = 1, num_classes: int = 2, **options: Any) -> int:
    """Trainable parameters of a network, counted on torch's meta device (no memory, any size).

    Raises:
        ConfigError: as ``build_network``.
    """
    with torch.device("meta"):
        network = build_network(name, spatial_dims, in_channels, num_classes, **options)
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def table(in_channels: int = 1, num_classes: int = 2) -> list[NetworkRow]:
    """A row for each network, in the order of NETWORKS."""

    def parameters(name: str, spatial_dims: int) -> int | None:
        return (
            count_parameters(name, spatial_dims, in_channels, num_classes)
            if spatial_dims in NETWORKS[name].dims
            else None
        )

    return [
        NetworkRow(
            name, info.paper, info.year, info.dims, info.encoders, parameters(name, 2), parameters(name, 3), info.note
        )
        for name, info in NETWORKS.items()
    ]
