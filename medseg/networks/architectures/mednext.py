"""MedNeXt: Roy et al. 2023, arXiv 2303.09975; the network is MONAI's."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import nn

from medseg.networks.layers.blocks import Norm
from medseg.networks.layers.monai_network import MonaiNetwork, with_norm
from medseg.networks.options import Count, Probability


class Variant(NamedTuple):
    """Blocks and expansion of the four levels of the encoder and of the bottleneck; the decoder mirrors the encoder."""

    blocks: tuple[int, int, int, int]
    bottleneck_blocks: int
    expansion: tuple[int, int, int, int]
    bottleneck_expansion: int


VARIANTS: dict[str, Variant] = {
    "S": Variant((2, 2, 2, 2), 2, (2, 2, 2, 2), 2),
    "B": Variant((2, 2, 2, 2), 2, (2, 3, 4, 4), 4),
    "M": Variant((3, 4, 4, 4), 4, (2, 3, 4, 4), 4),
    "L": Variant((3, 4, 8, 8), 8, (3, 4, 8, 8), 8),
}
"""The paper's."""


class MedNeXt(MonaiNetwork):
    """``monai.networks.nets.MedNeXt`` for any input size: a U-Net of ConvNeXt blocks with large depthwise kernels.

    Without the paper's deep supervision. A downsampling block expands by its level's ratio, the authors' by that of the
    level below: B, M and L have slightly fewer parameters, and the authors' weights do not fit them.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        variant: S, B, M or L.
        kernel_size: of the depthwise convolutions. The paper trains 5 from the weights of 3, enlarged.
        init_filters: channels of the first level; the paper's is 32.
        norm: `instance` is the paper's, written there as a group norm with a group for each channel: the same weights
            and numbers, but for that of torch, which loses digits in the channels_last layout on a CPU.
        dropout: of the coarsest map; the paper has none.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        variant: Literal["S", "B", "M", "L"] = "S",
        kernel_size: Literal[3, 5] = 3,
        init_filters: Count = 32,
        norm: Norm = "instance",
        dropout: Probability = 0.0,
    ) -> None:
        from monai.networks.nets.mednext import MedNeXt as MonaiMedNeXt  # seconds to import

        chosen = VARIANTS[variant]
        network = MonaiMedNeXt(
            spatial_dims,
            init_filters,
            in_channels,
            num_classes,
            encoder_expansion_ratio=chosen.expansion,
            decoder_expansion_ratio=chosen.expansion[::-1],
            bottleneck_expansion_ratio=chosen.bottleneck_expansion,
            kernel_size=kernel_size,
            use_residual_connection=True,
            blocks_down=chosen.blocks,
            blocks_bottleneck=chosen.bottleneck_blocks,
            blocks_up=chosen.blocks[::-1],
        )
        network.bottleneck.append(nn.Dropout(dropout))
        network = with_norm(network, "instance", spatial_dims)
        super().__init__(with_norm(network, norm, spatial_dims), (2 ** len(chosen.blocks),) * spatial_dims)
