"""VGG16 without its classifier: Simonyan and Zisserman 2015, arXiv 1409.1556."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from medseg.networks.encoders.strides import Axes, PerAxis, StemStride, plan_stages, stem_strides
from medseg.networks.layers.blocks import MAX_POOL, Norm, conv, initialise, norm_layer, scaled

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of the 3x3 convolutions between the max-pools."""


class VGG16(nn.Module):
    """3x3 convolutions with bias and ReLU, halved five times by max-pooling.

    Pooling rounds up, so any size has a map at every stride, and map cell i covers voxels from ``i * stride`` on.
    Without norm the keys are those of torchvision's vgg16, with any norm those of vgg16_bn.

    There are two forms. The paper's pools by windows of 2 and ends at stride 32. DeepLab's, which has an output stride,
    pools by windows of 3 about each second voxel; max-pools beyond the output stride do not stride, and the
    convolutions after them dilate instead. Both take the same weights.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        output_stride: of the last map, in DeepLab's form; None is the paper's.
        stem_stride: of the first max-pool, 1 or 2, for all axes or each.
        norm: between convolution and ReLU; `none` is the paper's.
        width: factor on all channels.
        stages: how many of the five to build.
        flat_levels: first levels that neither convolve nor pool along the last axis (see ``strides.Axes``).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        *,
        output_stride: int | None = None,
        stem_stride: StemStride = 2,
        norm: Norm = "none",
        width: float = 1.0,
        stages: int = len(STAGES),
        flat_levels: int = 0,
    ) -> None:
        super().__init__()
        self.widths = tuple(tuple(scaled(c, width) for c in stage) for stage in STAGES[:stages])
        self.channels = tuple(stage[-1] for stage in self.widths)
        axes = Axes(spatial_dims, flat_levels)
        first = stem_strides(stem_stride, axes)
        later = plan_stages(
            (2,) * (stages - 1),
            start=first,
            output_stride=output_stride or max(first) * 2 ** (stages - 1),
            axes=axes,
        )
        self.steps = (first, *(stage.stride for stage in later))
        """Of each max-pool, one number an axis."""
        self.strides = (first, *(stage.total for stage in later))
        kernels = (axes.at(0, 3), *(stage.kernel for stage in later))
        dilations = (1, *(stage.first_dilation for stage in later))
        self.features = nn.Sequential()
        for stage, kernel, dilation, step in zip(self.widths, kernels, dilations, self.steps, strict=True):
            for out_channels in stage:
                self.features.append(conv(spatial_dims, in_channels, out_channels, kernel, dilation=dilation))
                if norm != "none":
                    self.features.append(norm_layer(norm, out_channels, spatial_dims))
                self.features.append(nn.ReLU())
                in_channels = out_channels
            self.features.append(_pool(step, None if output_stride is None else kernel))
        initialise(self)

    @property
    def minimum(self) -> tuple[int, ...]:
        """Smallest size that leaves two cells for the norms of the last stage."""
        return tuple(total // step + 1 for total, step in zip(self.strides[-1], self.steps[-1], strict=True))

    def forward(self, x: Tensor) -> list[Tensor]:
        """The map after each max-pool."""
        return list(self.maps(x))

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        """The same, each when it is asked for."""
        for pooled, _, _ in self.stages(x):
            yield pooled

    def stages(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor, tuple[int, ...]]]:
        """After each max-pool: the map, the indices of its maxima, and the spatial size before pooling."""
        for layer in self.features:
            if not isinstance(layer, nn.MaxPool2d | nn.MaxPool3d):
                x = layer(x)
                continue
            size = tuple(x.shape[2:])
            x, indices = layer(x)
            yield x, indices, size

    def rectified(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The map after each ReLU, as many as there are convolutions, and the map after the last max-pool."""
        maps = []
        for layer in self.features:
            x = layer(x)[0] if isinstance(layer, nn.MaxPool2d | nn.MaxPool3d) else layer(x)
            if isinstance(layer, nn.ReLU):
                maps.append(x)
        return maps, x


def _pool(step: PerAxis, window: PerAxis | None) -> nn.Module:
    """Max-pooling to ceil(size / step), by windows that touch or, given their size, by windows about voxels."""
    if window is None:
        return MAX_POOL[len(step)](step, ceil_mode=True, return_indices=True)
    padding = tuple(k // 2 for k in window)
    return MAX_POOL[len(step)](window, stride=step, padding=padding, return_indices=True)
