"""EncNet: Zhang, Dana, Shi, Zhang, Wang, Tyagi and Agrawal 2018, arXiv 1803.08904."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medseg.networks.encoders import Backbone
from medseg.networks.layers.auxiliary_head import AuxiliaryHead
from medseg.networks.layers.blocks import (
    Norm,
    apply,
    conv,
    conv_norm_act,
    initialise,
    initialise_classifier,
    norm_layer,
    scaled,
)
from medseg.networks.layers.encoder_network import EncoderNetwork
from medseg.networks.layers.upsampling import resize
from medseg.networks.options import Count, Probability
from medseg.networks.outputs import Auxiliary, Output, TrainingOutput


class Encoding(nn.Module):
    """Residuals of all voxels to learned codewords, softly assigned and summed: as many numbers for any image size.

    The distances are taken apart, |x|^2 - 2 x d + |d|^2, so that memory grows with voxels times codewords and not times
    channels as well. That difference cancels digits, so all is computed in float32.

    Args:
        channels: D, of the map and of each codeword.
        codewords: K.
        average: divide by the number of voxels, for want of a norm behind it.
    """

    def __init__(self, channels: int, codewords: int, *, average: bool = False) -> None:
        super().__init__()
        bound = (codewords * channels) ** -0.5
        self.codewords = nn.Parameter(torch.empty(codewords, channels).uniform_(-bound, bound))
        self.scale = nn.Parameter(torch.empty(codewords).uniform_(-1, 0))
        self.average = average

    def assign(self, voxels: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, K) shares of each voxel, which sum to 1; the scale is negative, so the nearest wins."""
        products = voxels @ self.codewords.T
        squares = voxels.square().sum(dim=2, keepdim=True) - 2 * products + self.codewords.square().sum(dim=1)
        return (self.scale * squares).softmax(dim=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, I, J[, K]) -> (B, K, D)."""
        with torch.autocast(x.device.type, enabled=False):
            voxels = x.flatten(2).transpose(1, 2).float()
            shares = self.assign(voxels)
            residuals = shares.transpose(1, 2) @ voxels - shares.sum(dim=1).unsqueeze(2) * self.codewords
            return (residuals / voxels.shape[1] if self.average else residuals).to(x.dtype)


class ContextEncoding(nn.Module):
    """Gates the channels of a map by what the whole of it holds.

    The norm takes the codewords for channels: batch norm has its statistics over batch and D, so that batch 1 can be
    trained. The residuals are summed over voxels, as in the paper, so what batch norm learned holds for one size of
    map: segment with windows of the size of the training patches.

    Args:
        spatial_dims: 2 or 3.
        channels: D, of the map.
        codewords: K.
        norm: of the projection and of the codewords.
    """

    def __init__(self, spatial_dims: int, channels: int, codewords: int, *, norm: Norm) -> None:
        super().__init__()
        self.project = conv_norm_act(spatial_dims, channels, channels, 1, norm=norm)
        self.encode = Encoding(channels, codewords, average=norm == "none")
        self.norm = norm_layer(norm, codewords, 2)
        self.relu = nn.ReLU()
        self.gate = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D, I, J[, K]) -> the gated map of that shape, and the descriptor (B, D) of the image."""
        residuals = self.encode(self.project(x)).unsqueeze(3)
        descriptor = self.relu(self.norm(residuals)).mean(dim=(1, 3))
        gate = self.gate(descriptor).sigmoid().view(*x.shape[:2], *(1 for _ in x.shape[2:]))
        return self.relu(x + x * gate), descriptor


class EncNet(EncoderNetwork):
    """The encoder's last map, reduced, gated by its context encoding and scored.

    In train mode the descriptor of the patch is also asked which classes are present (`presence`), and stage 3 may be
    scored (`stage3`, weight 0.4).

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        backbone: the encoder's options. An output stride of 8 and the stem `s` are the paper's; MobileNetV2 has no such
            stem: give it `stem: null`.
        lateral: fuse stages 2, 3 and 4 before the encoding.
        codewords: K.
        channels: of the encoded map; None is the paper's 512 times the width.
        se_weight: of the loss of the classes' presence. Where every patch holds every class it teaches nothing; 0
            leaves its layer out.
        auxiliary: score stage 3 in training too, as the paper's recipe does.
        dropout: before the classifiers.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        backbone: Backbone = Backbone(output_stride=8, stem="s"),  # noqa: B008 - frozen
        lateral: bool = False,
        codewords: Count = 32,
        channels: Count | None = None,
        se_weight: Annotated[float, Field(ge=0.0)] = 0.2,
        auxiliary: bool = False,
        dropout: Probability = 0.1,
    ) -> None:
        super().__init__(spatial_dims, in_channels, backbone)
        norm, channels = backbone.norm, channels or scaled(512, backbone.width)
        _, _, stage2, stage3, stage4 = self.encoder.channels
        self.reduce = conv_norm_act(spatial_dims, stage4, channels, 3, norm=norm)
        self.laterals = nn.ModuleList(
            conv_norm_act(spatial_dims, c, channels, 1, norm=norm) for c in ((stage2, stage3) if lateral else ())
        )
        self.fuse = conv_norm_act(spatial_dims, 3 * channels, channels, 3, norm=norm) if lateral else None
        self.context = ContextEncoding(spatial_dims, channels, codewords, norm=norm)
        self.dropout = nn.Dropout(dropout)
        self.classifier = conv(spatial_dims, channels, num_classes, 1)
        self.presence = nn.Linear(channels, num_classes) if se_weight else None
        self.se_weight = se_weight
        self.auxiliary = (
            AuxiliaryHead(spatial_dims, self.encoder, num_classes, backbone=backbone, weight=0.4, dropout=dropout)
            if auxiliary
            else None
        )
        new = (self.reduce, self.laterals, self.fuse, self.context)
        initialise(*(part for part in new if part is not None))
        for layer in (self.classifier, self.presence):
            if layer is not None:
                initialise_classifier(layer)

    def score(self, maps: list[Tensor]) -> Output:
        """Scores at the size of the last map."""
        x = apply(self.reduce, maps[-1])
        if self.fuse is not None:
            sides = [resize(layer(m), x.shape[2:]) for layer, m in zip(self.laterals, maps[2:4], strict=True)]
            x = self.fuse(torch.cat([x, *sides], dim=1))
        gated, descriptor = self.context(x)
        scores = apply(self.classifier, self.dropout(gated))
        if not self.training:
            return scores
        auxiliary = []
        if self.presence is not None:
            auxiliary.append(Auxiliary("presence", self.presence(descriptor), self.se_weight))
        if self.auxiliary is not None:
            auxiliary.append(Auxiliary("stage3", self.auxiliary(maps[3]), self.auxiliary.weight))
        return TrainingOutput(scores, tuple(auxiliary)) if auxiliary else scores
