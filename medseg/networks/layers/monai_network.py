"""What MONAI's networks share here: any input size, and every norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from medseg.networks.layers.blocks import Norm, apply, norm_layer
from medseg.networks.layers.conv3d import Conv3d
from medseg.networks.layers.sizes import pad_to, pad_to_multiple
from medseg.networks.outputs import Output, to_size

NORMS: dict[type[nn.Module], tuple[Norm, str]] = {
    nn.BatchNorm2d: ("batch", "num_features"),
    nn.BatchNorm3d: ("batch", "num_features"),
    nn.InstanceNorm2d: ("instance", "num_features"),
    nn.InstanceNorm3d: ("instance", "num_features"),
    nn.GroupNorm: ("group", "num_channels"),
}
"""Kind of each layer that is a norm over space, and the attribute that holds its channels."""


class MonaiNetwork(nn.Module):
    """Pads to a multiple of the network's stride, runs it and cuts the logits to the image.

    Args:
        network: MONAI's, or what has been made of it.
        strides: of its coarsest map along each axis.
    """

    def __init__(self, network: nn.Module, strides: Sequence[int]) -> None:
        super().__init__()
        self.network: Any = network  # its parts have no types
        self.strides = tuple(strides)
        for module in network.modules():
            if type(module) is nn.Conv3d:
                module.__class__ = Conv3d  # the same layer, which trains rightly on short maps

    def run(self, x: Tensor) -> Output:
        """Call the network with an image of a size that it takes."""
        return apply(self.network, x)

    def forward(self, x: Tensor) -> Output:
        """(B, C, I, J[, K]) -> logits (B, num_classes, I, J[, K])."""
        padded = x
        if all(n <= stride for n, stride in zip(x.shape[2:], self.strides, strict=True)):
            # The coarsest map needs two cells for its norm: along one axis, the volume need not grow along the others.
            padded = pad_to(x, (self.strides[0] + 1, *x.shape[3:]))
        padded = pad_to_multiple(padded, self.strides)
        return to_size(self.run(padded), padded.shape[2:], x.shape[2:])


def with_norm(network: nn.Module, norm: Norm, spatial_dims: int) -> nn.Module:
    """Exchange the norms over space of a network in place; those of the wanted kind stay as MONAI made them.

    Layer norms of transformers stay. `none` leaves nothing, not even a bias where MONAI's convolution has none.

    Args:
        network: as built by MONAI, with norms of one kind.
        norm: the kind that is wanted.
        spatial_dims: 2 or 3.

    Returns:
        The same network.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            kind, channels = NORMS.get(type(child), (norm, ""))
            if kind != norm:
                setattr(module, name, norm_layer(norm, getattr(child, channels), spatial_dims))
    return network
