"""VGG16 without its classifier: Simonyan and Zisserman 2015, arXiv 1409.1556."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from medseg.networks.blocks import MAX_POOL, Norm, conv, initialise, norm_layer, scaled

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of the 3x3 convolutions between the max-pools."""


class VGG16(nn.Module):
    """3x3 convolutions with bias and ReLU, halved five times by 2x2 max-pooling.

    Pooling rounds up, so any size has a map at every stride, and map cell i covers voxels from ``i * stride`` on.
    Without norm the keys are those of torchvision's vgg16, with any norm those of vgg16_bn.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        norm: between convolution and ReLU; `none` is the paper's.
        width: factor on all channels.
        stages: how many of the five to build.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, *, norm: Norm = "none", width: float = 1.0, stages: int = len(STAGES)
    ) -> None:
        super().__init__()
        self.widths = tuple(tuple(scaled(c, width) for c in stage) for stage in STAGES[:stages])
        self.channels = tuple(stage[-1] for stage in self.widths)
        self.strides = tuple((2 ** (m + 1),) * spatial_dims for m in range(stages))
        self.features = nn.Sequential()
        for stage in self.widths:
            for out_channels in stage:
                self.features.append(conv(spatial_dims, in_channels, out_channels, 3))
                if norm != "none":
                    self.features.append(norm_layer(norm, out_channels, spatial_dims))
                self.features.append(nn.ReLU())
                in_channels = out_channels
            self.features.append(MAX_POOL[spatial_dims](2, ceil_mode=True, return_indices=True))
        initialise(self)

    @property
    def minimum(self) -> tuple[int, ...]:
        """Smallest size that leaves two cells for the norms of the last stage."""
        return tuple(stride // 2 + 1 for stride in self.strides[-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """The map after each max-pool."""
        return [pooled for pooled, _, _ in self.stages(x)]

    def stages(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor, tuple[int, ...]]]:
        """After each max-pool: the map, the indices of its maxima, and the spatial size before pooling."""
        for layer in self.features:
            if not isinstance(layer, nn.MaxPool2d | nn.MaxPool3d):
                x = layer(x)
                continue
            size = tuple(x.shape[2:])
            x, indices = layer(x)
            yield x, indices, size
