"""OCRNet: Yuan, Chen and Wang 2020, arXiv 1909.11065."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.encoders import Backbone
from medseg.networks.layers.blocks import (
    Norm,
    apply,
    conv,
    conv_norm_act,
    initialise,
    initialise_classifier,
    pooled_norm,
    scaled,
)
from medseg.networks.layers.encoder_network import EncoderNetwork, ScoringHead
from medseg.networks.layers.upsampling import resize
from medseg.networks.options import Count, Probability
from medseg.networks.outputs import Auxiliary, Output, TrainingOutput


def soft_regions(x: Tensor, scores: Tensor) -> Tensor:
    """Mean features of each class's soft region: the scores' softmax over space, not over classes, weighs the voxels.

    Args:
        x: (B, C, I, J[, K]) features.
        scores: (B, num_classes, I, J[, K]) coarse logits.

    Returns:
        (B, C, num_classes, 1[, 1]), a map with one cell a class.
    """
    weights = scores.flatten(2).softmax(dim=2)
    regions = x.flatten(2) @ weights.transpose(1, 2)
    return regions.view(*regions.shape, *(1 for _ in x.shape[3:]))


class ObjectContext(nn.Module):
    """Each voxel attends to the regions: memory and time grow with voxels times classes.

    The regions' features have ``pooled_norm``'s group norm: batch norm would see one value a channel at batch 1 and one
    class, and only two with two classes, which it makes -1 and 1. The number of parameters is the paper's.

    Args:
        spatial_dims: 2 or 3.
        channels: of the map and of the regions.
        key_channels: of queries, keys and values.
        norm: after each convolution.
    """

    def __init__(self, spatial_dims: int, channels: int, key_channels: int, *, norm: Norm) -> None:
        super().__init__()
        self.query = nn.Sequential(
            conv_norm_act(spatial_dims, channels, key_channels, 1, norm=norm),
            conv_norm_act(spatial_dims, key_channels, key_channels, 1, norm=norm),
        )
        self.key = nn.Sequential(
            _on_regions(spatial_dims, channels, key_channels, norm),
            _on_regions(spatial_dims, key_channels, key_channels, norm),
        )
        self.value = _on_regions(spatial_dims, channels, key_channels, norm)
        self.project = conv_norm_act(spatial_dims, key_channels, channels, 1, norm=norm)

    def forward(self, x: Tensor, regions: Tensor) -> Tensor:
        """(B, C, I, J[, K]) and (B, C, num_classes, 1[, 1]) -> (B, C, I, J[, K])."""
        query, key, value = (
            apply(f, y).flatten(2) for f, y in ((self.query, x), (self.key, regions), (self.value, regions))
        )
        affinity = (key.transpose(1, 2) @ query * key.shape[1] ** -0.5).softmax(dim=1)  # (B, num_classes, voxels)
        return apply(self.project, (value @ affinity).unflatten(2, x.shape[2:]))


class OCRNet(EncoderNetwork):
    """A coarse segmentation of stage 3 pools the last map into one vector a class; every voxel adds those it is like.

    The coarse scores are needed in eval mode too; in train mode they are an auxiliary output (`coarse`, weight 0.4),
    without whose loss the regions mean nothing. In a sliding window the regions are the window's.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        backbone: the encoder's options. An output stride of 8 is the paper's.
        channels: of the reduced map, of the regions and of the coarse head; None is the paper's 512 times the width.
        key_channels: of the attention; None is the paper's 256 times the width.
        dropout: before both classifiers.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        backbone: Backbone = Backbone(output_stride=8),  # noqa: B008 - frozen
        channels: Count | None = None,
        key_channels: Count | None = None,
        dropout: Probability = 0.05,
    ) -> None:
        super().__init__(spatial_dims, in_channels, backbone)
        norm, channels = backbone.norm, channels or scaled(512, backbone.width)
        key_channels = key_channels or scaled(256, backbone.width)
        stage3, stage4 = self.encoder.channels[-2:]
        self.coarse = ScoringHead(spatial_dims, stage3, channels, num_classes, norm=norm, dropout=dropout)
        self.reduce = conv_norm_act(spatial_dims, stage4, channels, 3, norm=norm)
        self.context = ObjectContext(spatial_dims, channels, key_channels, norm=norm)
        self.fuse = nn.Sequential(
            conv_norm_act(spatial_dims, 2 * channels, channels, 1, norm=norm),
            nn.Dropout(dropout),
        )
        self.classifier = conv(spatial_dims, channels, num_classes, 1)
        initialise(self.reduce, self.context, self.fuse)
        initialise_classifier(self.classifier)

    def score(self, maps: list[Tensor]) -> Output:
        """Scores at the size of the last map."""
        coarse, x = apply(self.coarse, maps[-2]), apply(self.reduce, maps[-1])
        regions = soft_regions(x, resize(coarse, x.shape[2:]))
        scores = apply(self.classifier, self.fuse(torch.cat([self.context(x, regions), x], dim=1)))
        return TrainingOutput(scores, (Auxiliary("coarse", coarse, 0.4),)) if self.training else scores


def _on_regions(spatial_dims: int, in_channels: int, out_channels: int, norm: Norm) -> nn.Sequential:
    return nn.Sequential(
        conv(spatial_dims, in_channels, out_channels, 1, bias=norm == "none"),
        pooled_norm(norm, out_channels),
        nn.ReLU(),
    )
