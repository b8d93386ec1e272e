"""Zoom-out features: Mostajabi, Yadollahpour and Shakhnarovich 2015, arXiv 1412.0774."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.errors import ConfigError
from medseg.networks.encoders.vgg import VGG16
from medseg.networks.layers.blocks import (
    CONV,
    Norm,
    apply,
    conv,
    conv_norm_act,
    every_axis,
    initialise,
    initialise_classifier,
    norm_layer,
    pooled_norm,
    scaled,
)
from medseg.networks.layers.patches import bin_warnings
from medseg.networks.layers.sizes import pad_small
from medseg.networks.options import Count, FlatLevels, Probability, Width
from medseg.networks.outputs import Output, to_size


class ZoomOut(nn.Module):
    """Describes each cell of a regular grid by nested regions, from itself out to the whole image, and classifies it.

    The regions are the paper's: the cell through the eyes of VGG16's 13 convolutions (4224 features), its surroundings
    (sub-scene) and the whole image (scene), both by fc7. The paper's cells are superpixels; a grid has one form in 2D
    and 3D and needs no segmentation beforehand. The paper runs VGG16 anew on a crop about each superpixel; here fc6 and
    fc7 slide over the last map for the surroundings, and see that map averaged to fc6's own size for the scene: their
    weights exist once.

    The paper's loss weighs the classes by their inverse frequency: set the loss's class weights.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        cell_size: voxels of a cell along each axis, one number or one an axis; None is 8 in 2D and 4 in 3D, less along
            the last axis where ``flat_levels`` leave it alone. Details below it are lost.
        fc_kernel: of fc6; None is the paper's 7 in 2D and 3 in 3D.
        fc_width: channels of fc6 and fc7; None is the paper's 4096 in 2D and 1024 in 3D, times the width.
        mlp_width: of the classifier's two hidden layers; None is 1024 times the width.
        freeze_encoder: train the classifier alone, as the paper does on ImageNet's weights. Without such weights the
            features stay the random ones of the start, which is of no use.
        dropout: after the classifier's hidden layers.
        norm: in the encoder, where the paper has none, and to standardise the features, which the paper does one by one
            (as `batch` does). The scene's have ``pooled_norm``. With `none` nothing is standardised.
        width: factor on all channels.
        flat_levels: first levels that neither convolve nor pool along the last axis, for thick slices (3D only).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        cell_size: Count | tuple[Count, ...] | None = None,
        fc_kernel: Literal[1, 3, 5, 7] | None = None,
        fc_width: Count | None = None,
        mlp_width: Count | None = None,
        freeze_encoder: bool = False,
        dropout: Probability = 0.5,
        norm: Norm = "batch",
        width: Width = 1.0,
        flat_levels: FlatLevels = 0,
    ) -> None:
        super().__init__()
        self.encoder = VGG16(spatial_dims, in_channels, norm=norm, width=width, flat_levels=flat_levels)
        self.cell_size = every_axis(cell_size or self.encoder.strides[2 if spatial_dims == 2 else 1], spatial_dims)
        if len(self.cell_size) != spatial_dims:
            raise ConfigError(f"network.cell_size: expected 1 or {spatial_dims} numbers, found {list(self.cell_size)}")
        self.minimum = tuple(max(n, c + 1) for n, c in zip(self.encoder.minimum, self.cell_size, strict=True))
        """Smallest size that leaves two cells for the norms of the encoder's last stage and of the grid."""

        self.fc_kernel: int = fc_kernel or (7 if spatial_dims == 2 else 3)
        fc_width = fc_width or scaled(4096 if spatial_dims == 2 else 1024, width)
        self.fc6 = nn.Sequential(CONV[spatial_dims](self.encoder.channels[-1], fc_width, self.fc_kernel), nn.ReLU())
        self.fc7 = conv_norm_act(spatial_dims, fc_width, fc_width, 1, norm="none")

        stages = ((1,) * spatial_dims, *self.encoder.strides)
        of_maps = [(c, s) for widths, s in zip(self.encoder.widths, stages, strict=False) for c in widths]
        of_maps.append((fc_width, stages[-1]))
        self.strides = [stride for _, stride in of_maps]
        """Of the maps that are averaged over the cells: each convolution's, then the sub-scene's."""
        self.standardise = nn.ModuleList(norm_layer(norm, channels, spatial_dims) for channels, _ in of_maps)
        self.standardise_scene = pooled_norm(norm, fc_width)
        self.features = sum(channels for channels, _ in of_maps) + fc_width
        hidden = mlp_width or scaled(1024, width)
        self.mlp = nn.Sequential(
            conv_norm_act(spatial_dims, self.features, hidden, 1, norm="none"),
            nn.Dropout(dropout),
            conv_norm_act(spatial_dims, hidden, hidden, 1, norm="none"),
            nn.Dropout(dropout),
            conv(spatial_dims, hidden, num_classes, 1),
        )
        initialise(self.fc6, self.fc7, self.mlp)
        initialise_classifier(self.mlp[-1])
        self.frozen = (self.encoder, self.fc6, self.fc7) if freeze_encoder else ()
        for part in self.frozen:
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> ZoomOut:
        """Set the mode; frozen parts stay as in eval mode, so that their norms' statistics do not move."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def forward(self, x: Tensor) -> Output:
        """(B, C, I, J[, K]) -> logits (B, num_classes, I, J[, K])."""
        scores = apply(self.mlp, self.describe(pad_small(x, self.minimum)))
        covered = [n * c for n, c in zip(scores.shape[2:], self.cell_size, strict=True)]
        return to_size(scores, covered, x.shape[2:])

    def describe(self, x: Tensor) -> Tensor:
        """(B, C, I, J[, K]) -> the standardised features of each cell, fine to coarse: (B, features, cells ...)."""
        size = x.shape[2:]
        maps, last = self.encoder.rectified(x)
        around = [self.fc_kernel // 2] * (2 * last.ndim - 4)
        scene = self.fc7(self.fc6(F.interpolate(last, [self.fc_kernel] * (last.ndim - 2), mode="area")))
        maps.append(self.fc7(self.fc6(F.pad(last, around))))
        features = [
            apply(norm, cell_means(features, stride, self.cell_size, size))
            for norm, features, stride in zip(self.standardise, maps, self.strides, strict=True)
        ]
        features.append(apply(self.standardise_scene, scene).expand(-1, -1, *features[0].shape[2:]))
        return torch.cat(features, dim=1)

    def patch_warnings(self, patch_size: Sequence[int]) -> list[str]:
        """Tell where such a patch's last map is smaller than fc6."""
        return bin_warnings("fc_kernel", [self.fc_kernel], patch_size, self.encoder.strides[-1])


def cell_means(x: Tensor, stride: Sequence[int], cell: Sequence[int], size: Sequence[int]) -> Tensor:
    """The means over cells of a map that is enlarged linearly to the image, without enlarging it.

    Enlarging and averaging are both sums with fixed weights, axis by axis; their product is one small matrix an axis.

    Args:
        x: (B, C, ...) map of an image.
        stride: of the map.
        cell: voxels of a cell; the last one of an axis may hold fewer.
        size: of the image.

    Returns:
        (B, C, ceil(size / cell) ...).
    """
    axes = range(2, x.ndim)
    for axis, s, c, n in reversed(list(zip(axes, stride, cell, size, strict=True))):  # the last one needs no copy
        weights = _cell_weights(x.shape[axis], s, c, n, x.device).to(x.dtype)
        x = (x.movedim(axis, -1) @ weights).movedim(-1, axis)
    return x


def _cell_weights(length: int, stride: int, cell: int, size: int, device: torch.device) -> Tensor:
    """(length of the map, cells): each column sums to 1."""
    each = torch.eye(length, device=device).unsqueeze(0)
    voxels = F.interpolate(each, size=length * stride, mode="linear", align_corners=False)[0, :, :size]
    cells = math.ceil(size / cell)
    sums = F.pad(voxels, (0, cells * cell - size)).reshape(length, cells, cell).sum(dim=2)
    return sums / sums.sum(dim=0)
