"""The table of ``medseg networks``: what there is, how large it is and what it costs, without allocating a weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from medseg.networks import NETWORKS, build_network, network_options
from medseg.networks.macs import count_macs
from medseg.networks.published import Published, published
from medseg.networks.receptive_field import receptive_field


@dataclass(frozen=True)
class NetworkRow:
    """One network.

    Attributes:
        name: key of NETWORKS.
        paper: title.
        year: of the paper.
        dims: spatial dimensions.
        encoders: choices of encoder.
        parameters_2d: trainable parameters, None where the network has no 2D form.
        parameters_3d: likewise in 3D.
        note: what to know before choosing it.
        arxiv: id of the paper, or None.
        encoder: the one that is counted.
        options: with which it is counted; the others have their defaults.
        published: what others count for the same network, and with which options ours was held against it.
        patch_size: that the costs are for, or None.
        macs: multiply-accumulates of a forward pass; None without a patch, or where it has no form of that dimension.
        receptive_field: voxels along each axis of the patch that the logits at its centre depend on; None likewise.
    """

    name: str
    paper: str
    year: int
    dims: tuple[int, ...]
    encoders: tuple[str, ...]
    parameters_2d: int | None
    parameters_3d: int | None
    note: str
    arxiv: str | None = None
    encoder: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    published: tuple[Published, ...] = ()
    patch_size: tuple[int, ...] | None = None
    macs: int | None = None
    receptive_field: tuple[int, ...] | None = None

    @property
    def reproduced(self) -> bool | None:
        """Whether our counts are the published ones, to the unit or as exactly as they are given; None without any."""
        return all(entry.reproduced for entry in self.published) if self.published else None


def count_parameters(name: str, spatial_dims: int, in_channels: int = 1, num_classes: int = 2, **options: Any) -> int:
    """Trainable parameters of a network, counted on torch's meta device (no memory, any size).

    Raises:
        ConfigError: as ``build_network``.
    """
    with torch.device("meta"):
        network = build_network(name, spatial_dims, in_channels, num_classes, **options)
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def network_row(
    name: str,
    in_channels: int = 1,
    num_classes: int = 2,
    *,
    patch_size: Sequence[int] | None = None,
    small: bool = False,
) -> NetworkRow:
    """All that is known of one network.

    Args:
        name: key of NETWORKS.
        in_channels: of the image.
        num_classes: of the logits.
        patch_size: two numbers add the costs of the 2D form, three those of the 3D form.
        small: its small form, as tests run it, instead of the paper's.

    Raises:
        ConfigError: unknown name.
    """
    taken = network_options(name)
    info = NETWORKS[name]
    options = dict(info.small) if small else {}
    counts = {dims: count_parameters(name, dims, in_channels, num_classes, **options) for dims in info.dims}
    patch = tuple(patch_size) if patch_size and len(patch_size) in info.dims else None
    encoder = options.get("encoder", taken["encoder"].default) if "encoder" in taken else info.encoders[0]
    return NetworkRow(
        name=name,
        paper=info.paper,
        year=info.year,
        dims=info.dims,
        encoders=info.encoders,
        parameters_2d=counts.get(2),
        parameters_3d=counts.get(3),
        note=info.note,
        arxiv=info.arxiv,
        encoder=encoder,
        options=options,
        published=published(name),
        patch_size=patch,
        macs=count_macs(name, patch, in_channels, num_classes, **options) if patch else None,
        receptive_field=receptive_field(name, patch, **options) if patch else None,
    )


def table(
    in_channels: int = 1, num_classes: int = 2, *, patch_size: Sequence[int] | None = None, small: bool = False
) -> list[NetworkRow]:
    """A row for each network, in the order of NETWORKS; the arguments are those of ``network_row``."""
    return [network_row(name, in_channels, num_classes, patch_size=patch_size, small=small) for name in NETWORKS]
