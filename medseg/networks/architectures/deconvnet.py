"""DeconvNet: Noh, Hong and Han 2015, arXiv 1505.04366."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.encoders.strides import Axes
from medseg.networks.encoders.vgg import VGG16
from medseg.networks.layers.blocks import (
    CONV,
    Norm,
    apply,
    conv,
    initialise,
    initialise_classifier,
    norm_layer,
    pooled_norm,
    scaled,
)
from medseg.networks.layers.deconvolution import deconv
from medseg.networks.layers.mirrored import MirroredDecoder, pool
from medseg.networks.layers.patches import cells
from medseg.networks.layers.sizes import crop, pad_small, pad_to
from medseg.networks.options import Count, FlatLevels, Probability, Width


class DeconvNet(nn.Module):
    """VGG16-BN down to a vector (fc6, fc7), and its mirror image in deconvolutions that unpool by the switches.

    fc6 has no padding: it takes a map of ``fc_kernel`` cells to one, and the deconvolution that mirrors it back again;
    a larger image gives a larger map. The paper's 7 cells are an image of 193 to 224 pixels. A smaller map is padded
    with its border cells up to ``fc_kernel``, and what comes back is cut to its size (``patch_warnings`` tells). The
    image itself is not padded to that size: its repeated border would tie the maxima that the switches stand for.

    The paper takes object proposals of 224 x 224 pixels and merges their scores; here the patch is the proposal. After
    fc6 and fc7 the norm is ``pooled_norm``'s group norm, for one cell at batch 1 has no batch statistics; the
    parameters are as many as the paper's batch norm has.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        fc: fc6, fc7 and fc6's mirror between encoder and decoder: four fifths of the parameters. Without them the
            network is SegNet with deconvolutions.
        fc_kernel: of fc6 and its mirror; None is the paper's 7 in 2D and 4 in 3D (where 7 would make 1.5 billion
            weights).
        fc_width: channels of fc6 and fc7; None is the paper's 4096 in 2D and 1024 in 3D, times the width.
        dropout: after fc6 and fc7, or at the coarsest map without them (the paper has none).
        norm: after every convolution but the last.
        width: factor on all channels.
        flat_levels: first stages that neither convolve nor pool along the last axis, for thick slices (3D only).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        fc: bool = True,
        fc_kernel: Count | None = None,
        fc_width: Count | None = None,
        dropout: Probability = 0.0,
        norm: Norm = "batch",
        width: Width = 1.0,
        flat_levels: FlatLevels = 0,
    ) -> None:
        super().__init__()
        for key, value in {"fc_kernel": fc_kernel, "fc_width": fc_width}.items():
            if value and not fc:
                raise ConfigError(f"network.{key}: expected none where fc is false, found {value}; remove one of them")
        self.encoder = VGG16(spatial_dims, in_channels, norm=norm, width=width, flat_levels=flat_levels)
        strides, channels = self.encoder.strides[-1], self.encoder.channels[-1]
        self.fc_kernel = (fc_kernel or (7 if spatial_dims == 2 else 4)) if fc else 1
        self.minimum = tuple(s + 1 for s in strides)
        """Smallest size that leaves two cells for the norms."""
        self.fc = nn.Sequential(nn.Dropout(dropout))
        if fc:
            hidden = fc_width or scaled(4096 if spatial_dims == 2 else 1024, width)
            self.fc = nn.Sequential(
                CONV[spatial_dims](channels, hidden, self.fc_kernel),
                *(pooled_norm(norm, hidden), nn.ReLU(), nn.Dropout(dropout)),
                conv(spatial_dims, hidden, hidden, 1),
                *(pooled_norm(norm, hidden), nn.ReLU(), nn.Dropout(dropout)),
                deconv(spatial_dims, hidden, channels, self.fc_kernel),
                *(norm_layer(norm, channels, spatial_dims), nn.ReLU()),
            )
        self.decoder = MirroredDecoder(
            self.encoder, Axes(spatial_dims, flat_levels), norm=norm, layer=_same_size_deconv
        )
        self.classifier = conv(spatial_dims, self.encoder.channels[0], num_classes, 1)
        initialise(self.fc)
        initialise_classifier(self.classifier)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, I, J[, K]) -> logits (B, num_classes, I, J[, K])."""
        pooled, switches = pool(self.encoder, pad_small(x, self.minimum))
        hidden = apply(self.fc, pad_to(pooled, [self.fc_kernel] * (x.ndim - 2)))
        y = self.decoder(crop(hidden, pooled.shape[2:]), switches)
        return crop(apply(self.classifier, y), x.shape[2:])

    def patch_warnings(self, patch_size: Sequence[int]) -> list[str]:
        """Say that fc6 is larger than the last map of such a patch."""
        size = cells(patch_size, self.encoder.strides[-1])
        if min(size) >= self.fc_kernel:
            return []
        have, patch = (" x ".join(map(str, n)) for n in (size, patch_size))
        return [
            f"network.fc_kernel: {self.fc_kernel} is more than the last feature map has, {have} cells for a patch of "
            f"{patch}, which is padded with its border cells; take {min(size)}, fc: false or a larger patch"
        ]


def _same_size_deconv(spatial_dims: int, in_channels: int, out_channels: int, kernel: Sequence[int]) -> nn.Module:
    return deconv(spatial_dims, in_channels, out_channels, kernel, padding=[k // 2 for k in kernel])
