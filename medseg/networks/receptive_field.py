"""How far a network sees: the voxels of a patch that the logits at its centre depend on.

Asked of the network itself, without a formula for each layer: a voxel that is not a number makes everything that is
computed from it not a number. Weights do not matter for that, so a thin form answers for the wide one, and one axis
does not matter for another, so a line of voxels answers for the patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks import build_network, network_options
from medseg.networks.layers.blocks import apply

_THIN = {"width": 0.125, "init_filters": 8, "feature_size": 12, "fc_width": 8, "mlp_width": 8}
"""Options that say how many channels there are, and nothing about where a network looks; each with a small value."""


def receptive_field(name: str, patch_size: Sequence[int], **options: Any) -> tuple[int, ...]:
    """Extent along each axis, in voxels, of what the logits at a patch's centre depend on.

    No more than the patch: an axis seen from end to end gives its length, as image pooling does for any length. Norms
    are left out: what their statistics gather is not counted as seen.

    Args:
        name: of the network.
        patch_size: voxels along the spatial axes; two of them ask the 2D form, three the 3D form.
        options: of the network.

    Raises:
        ConfigError: as ``build_network``.
    """
    dims = len(patch_size)
    network = build_network(name, dims, 1, 2, **{**options, **_thin(name, options), "norm": "none"}).eval()
    return tuple(_extent(network, axis, n, dims) for axis, n in enumerate(patch_size))


def _thin(name: str, options: dict[str, Any]) -> dict[str, Any]:
    known = network_options(name)
    thin: dict[str, Any] = {key: value for key, value in _THIN.items() if key in known}
    if "filters" in known:  # one number a stage
        thin["filters"] = (8,) * len(options.get("strides", known["strides"].default))
    return thin


def _extent(network: nn.Module, axis: int, n: int, dims: int) -> int:
    """Voxels seen along an axis of length n, by bisection on both sides of the centre at once."""
    centre = n // 2
    voxels = torch.arange(n)
    near, far = [0, 0], [centre, n - 1 - centre]
    steps = list(far)  # first, since the whole of a patch is what most networks see
    while near != far:
        beyond = torch.stack([voxels <= centre - steps[0], voxels >= centre + steps[1]])
        for side, noticed in enumerate(_notices(network, beyond, axis, dims)):
            near[side], far[side] = (steps[side], far[side]) if noticed else (near[side], steps[side] - 1)
        steps = [(a + b + 1) // 2 for a, b in zip(near, far, strict=True)]
    return sum(near) + 1


def _notices(network: nn.Module, hidden: Tensor, axis: int, dims: int) -> list[bool]:
    """Whether the logits at the centre of a line change when some of its voxels, (lines, n), are not a number."""
    shape = [hidden.shape[1] if a == axis else 1 for a in range(dims)]
    x = torch.zeros(hidden.shape).masked_fill(hidden, torch.nan).view(-1, 1, *shape)
    # Transforms (Winograd's, Fourier's) would carry a voxel to others in the same tile.
    with torch.inference_mode(), torch.backends.nnpack.flags(enabled=False):
        logits = apply(network, x).flatten(2)
    return [bool(reached) for reached in logits[:, :, hidden.shape[1] // 2].isnan().any(dim=1)]
