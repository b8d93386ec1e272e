"""How much a network computes for a patch, counted without computing anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from medseg.networks import build_network


def count_macs(name: str, patch_size: Sequence[int], in_channels: int = 1, num_classes: int = 2, **options: Any) -> int:
    """Multiply-accumulates of one forward pass in eval mode, for one patch.

    Convolutions, linear layers and products of matrices (attention) are counted, as torch does it; norms, activations,
    pooling and interpolation are not. Tensors have shapes and no values, so any size takes no memory. Where the image
    decides how much of a network runs, all of it is counted.

    Args:
        name: of the network.
        patch_size: voxels along the spatial axes; two of them count the 2D form, three the 3D form.
        in_channels: of the image.
        num_classes: of the logits.
        options: of the network.

    Raises:
        ConfigError: as ``build_network``.
    """
    with torch.device("meta"):
        network = build_network(name, len(patch_size), in_channels, num_classes, **options)
    # Fake tensors say that they are on the CPU: the meta device has no autocast.
    with FakeTensorMode(allow_non_fake_inputs=True):
        network.to_empty(device="cpu")
        x = torch.empty(1, in_channels, *patch_size)
        try:
            return _count(network.eval(), x)
        except DataDependentOutputException:
            return _count(network.train(), x)


def _count(network: nn.Module, x: Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(x)
    return int(counter.get_total_flops()) // 2
