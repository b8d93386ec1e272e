"""RefineNet: Lin, Milan, Shen and Reid 2017, arXiv 1611.06612."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.encoders import Backbone
from medseg.networks.layers.blocks import MAX_POOL, apply, conv, initialise, initialise_classifier, scaled
from medseg.networks.layers.encoder_network import EncoderNetwork
from medseg.networks.layers.upsampling import resize
from medseg.networks.options import Count, Probability


class RefineNet(EncoderNetwork):
    """Four refining blocks, coarse to fine: each joins one stage of the encoder with the block before.

    The decoder is the authors' released one (the paper's figures have two pools in each chain and one residual unit
    behind it): no norm anywhere, and no bias but in the first convolution of each residual unit and in the classifier.
    Logits have the stride of the first stage and are enlarged linearly.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        backbone: the encoder's options; its norm is not used in the decoder.
        channels: of the coarsest block, and of the others; None is the paper's 512 and 256 times the width.
        crp_stages: pools in each chain of residual pooling.
        output_rcus: residual units behind each chain.
        dropout: on the encoder's last two maps and before the classifier.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        backbone: Backbone = Backbone(encoder="resnet101", output_stride=32),  # noqa: B008 - frozen
        channels: tuple[Count, Count] | None = None,
        crp_stages: Count = 4,
        output_rcus: Count = 3,
        dropout: Probability = 0.5,
    ) -> None:
        super().__init__(spatial_dims, in_channels, backbone)
        deepest, others = channels or (scaled(512, backbone.width), scaled(256, backbone.width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList()
        coarser = 0
        for in_width in reversed(self.encoder.channels[1:]):
            width = others if coarser else deepest
            self.blocks.append(RefineBlock(spatial_dims, in_width, width, coarser, crp_stages, output_rcus))
            coarser = min(width, coarser or width)
        self.classifier = conv(spatial_dims, coarser, num_classes, 3)
        initialise(self.blocks)
        initialise_classifier(self.classifier)
        _scale_residuals(self.blocks)

    def score(self, maps: list[Tensor]) -> Tensor:
        """Scores at the size of the first stage's map."""
        first, second, third, fourth = maps[1:]
        y: Tensor | None = None
        for block, x in zip(self.blocks, (self.dropout(fourth), self.dropout(third), second, first), strict=True):
            y = block(x, y)
        return apply(self.classifier, self.dropout(y))


class RefineBlock(nn.Module):
    """Adapts a map of the encoder, adds the coarser block's result, and pools context over the sum.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the encoder's map.
        channels: to which it is adapted.
        coarser: channels of the coarser block's result; 0 where there is none. The sum has the fewer of the two.
        crp_stages: pools in the chain.
        output_rcus: residual units behind it.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, channels: int, coarser: int, crp_stages: int, output_rcus: int
    ) -> None:
        super().__init__()
        fused = min(channels, coarser or channels)
        self.adapt = nn.Sequential(
            conv(spatial_dims, in_channels, channels, 3, bias=False),
            *(ResidualUnit(spatial_dims, channels) for _ in range(2)),
        )
        self.fuse = (
            nn.ModuleList(conv(spatial_dims, width, fused, 3, bias=False) for width in (channels, coarser))
            if coarser
            else None
        )
        self.output = nn.Sequential(
            nn.ReLU(),
            ChainedResidualPooling(spatial_dims, fused, crp_stages),
            *(ResidualUnit(spatial_dims, fused) for _ in range(output_rcus)),
        )

    def forward(self, x: Tensor, coarser: Tensor | None) -> Tensor:
        """(B, in, I, J[, K]) and the coarser result, of any size -> (B, fused, I, J[, K])."""
        y = apply(self.adapt, x)
        if self.fuse is not None and coarser is not None:
            own, other = self.fuse
            y = own(y) + resize(other(coarser), y.shape[2:])
        return apply(self.output, y)


class ResidualUnit(nn.Module):
    """RCU: x + convolution(ReLU(convolution(ReLU(x)))), the first with bias."""

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.conv1 = conv(spatial_dims, channels, channels, 3)
        self.conv2 = conv(spatial_dims, channels, channels, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, I, J[, K]), size and channels stay."""
        return x + apply(self.conv2, self.relu(self.conv1(self.relu(x))))


class ChainedResidualPooling(nn.Module):
    """CRP: a chain of max-pool (stride 1) and convolution, all links of which are added to the input.

    A pool spans five cells an axis in 2D and three in 3D.
    """

    def __init__(self, spatial_dims: int, channels: int, stages: int) -> None:
        super().__init__()
        size = 5 if spatial_dims == 2 else 3
        self.pool = MAX_POOL[spatial_dims](size, stride=1, padding=size // 2)
        self.convs = nn.ModuleList(conv(spatial_dims, channels, channels, 3, bias=False) for _ in range(stages))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, I, J[, K]), size and channels stay."""
        y = link = x
        for layer in self.convs:
            link = layer(self.pool(link))
            y = y + link
        return y


def _scale_residuals(blocks: nn.ModuleList) -> None:
    """Shrink what is added to a map: without norm every sum would multiply the variance."""
    links: list[nn.Module] = []
    paths: list[nn.Module] = []
    for module in blocks.modules():
        if isinstance(module, ResidualUnit):
            links.append(module.conv2)
        elif isinstance(module, ChainedResidualPooling):
            links.extend(module.convs)
        elif isinstance(module, RefineBlock):
            paths.extend(module.fuse or ())
    with torch.no_grad():
        for weight in nn.ModuleList(links).parameters():
            weight.mul_(len(links) ** -0.5)
        for weight in nn.ModuleList(paths).parameters():
            weight.mul_(0.5)  # two paths, and no ReLU before them that would have halved them
