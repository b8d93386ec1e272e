"""DeepLab v1 (LargeFOV): Chen, Papandreou, Kokkinos, Murphy and Yuille 2015, arXiv 1412.7062."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from medseg.networks.layers.blocks import apply
from medseg.networks.layers.encoder_network import EncoderNetwork
from medseg.networks.layers.largefov import LargeFOV, LargeFOVOptions


class DeepLabV1(EncoderNetwork):
    """VGG16 held at stride 8 by holes instead of pooling, and a thin fc6 that looks far.

    A voxel's score sees 435 pixels of a slice with the paper's rate of 12. Two differences from the released Caffe net:
    the scores are enlarged to the image in training too, where the authors took every eighth label; and voxel centres
    are aligned, not corners, so that the image may have any size, not 8 m + 1 alone. The paper's conditional random
    field comes after the network and is no part of it.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        largefov: options of encoder and head.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        largefov: LargeFOVOptions = LargeFOVOptions(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(spatial_dims, in_channels, largefov.backbone)
        self.head = LargeFOV(spatial_dims, self.encoder.channels[-1], num_classes, largefov)

    def score(self, maps: list[Tensor]) -> Tensor:
        """Scores at the size of the last map."""
        return apply(self.head, maps[-1])

    def patch_warnings(self, patch_size: Sequence[int]) -> list[str]:
        """Name the rate of fc6 where it reaches beyond the last map of such a patch."""
        return self.head.patch_warnings(patch_size, self.encoder.strides[-1])
