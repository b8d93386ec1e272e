"""Deep Layer Cascade: Li, Liu, Luo, Loy and Tang 2017, arXiv 1704.01344."""

from __future__ import annotations

from itertools import islice, pairwise
from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from medseg.networks.encoders import Backbone
from medseg.networks.encoders.resnet import ResNet
from medseg.networks.encoders.strides import PerAxis
from medseg.networks.layers.blocks import apply, scaled
from medseg.networks.layers.boxes import Box, Reach, interpolated, needed
from medseg.networks.layers.encoder_network import EncoderNetwork, ScoringHead
from medseg.networks.layers.patches import cells
from medseg.networks.layers.sizes import crop, pad_small
from medseg.networks.layers.upsampling import resize
from medseg.networks.options import Count, Probability
from medseg.networks.outputs import Auxiliary, Output, TrainingOutput


class LayerCascade(EncoderNetwork):
    """A head on each of the encoder's last three maps; what one of them is sure of goes no further.

    In training everything is computed, and a voxel trains the heads that it reaches. In evaluation the logits of a
    voxel are those of the head that decided it, and what no undecided voxel needs is not computed: an image without any
    leaves the encoder there; of the others the later heads, and a ResNet's later layers, see the box around the voxels
    left and as far beyond it as they reach. Nothing skipped would have changed the logits. Norms of whole maps
    (`instance`, `group`) cannot be computed in part: there only whole images are skipped.

    The paper's encoder is Inception-ResNet-v2, whose later stages convolve at undecided voxels only, in training too;
    they see less of the others. What is computed depends on the image: this cannot be exported as one graph.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        backbone: the encoder's options; output stride 8 keeps three maps of one size.
        threshold: probability of the best class from which a voxel is decided. 1 and more decides nothing before the
            last head: warm up with it, then train on with the paper's 0.985.
        stage_weight: of the losses of the first and second head; the last one's is 1.
        head_channels: between a head's convolutions; None is 256 times the width.
        dropout: before each head's classifier.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        backbone: Backbone = Backbone(output_stride=8),  # noqa: B008 - frozen
        threshold: Annotated[float, Field(ge=0.0)] = 0.985,
        stage_weight: Annotated[float, Field(gt=0.0)] = 1.0,
        head_channels: Count | None = None,
        dropout: Probability = 0.1,
    ) -> None:
        super().__init__(spatial_dims, in_channels, backbone)
        self.threshold, self.stage_weight = threshold, stage_weight
        channels = head_channels or scaled(256, backbone.width)
        self.heads = nn.ModuleList(
            ScoringHead(spatial_dims, tapped, channels, num_classes, norm=backbone.norm, dropout=dropout)
            for tapped in self.encoder.channels[-3:]
        )
        strides = self.encoder.strides[-3:]
        self.steps = [tuple(b // a for a, b in zip(*pair, strict=True)) for pair in pairwise(strides)]
        """Stride from one of the three maps to the next."""
        self.has_parts = backbone.norm in ("batch", "none")
        self.reaches = [[Reach.of(block) for block in layer] for layer in self._later_layers()]

    def score(self, maps: list[Tensor]) -> TrainingOutput:
        """Scores of the three maps, everywhere."""
        first, second, last = (apply(head, tapped) for head, tapped in zip(self.heads, maps[-3:], strict=True))
        weight = self.stage_weight
        return TrainingOutput(last, (Auxiliary("stage1", first, weight), Auxiliary("stage2", second, weight)))

    def forward(self, x: Tensor) -> Output:
        """(B, C, I, J[, K]) -> logits (B, num_classes, I, J[, K]), in train mode with auxiliary outputs."""
        if not self.training:
            logits: Tensor = self.decide(x)[0]
            return logits
        output = super().forward(x)
        assert isinstance(output, TrainingOutput)
        first, second = output.auxiliary
        if self.threshold >= 1:
            return output
        reaches_second = self.undecided(first.logits)
        reaches_last = reaches_second & self.undecided(second.logits)
        return TrainingOutput(output.logits, (first, second._replace(counted=reaches_second)), reaches_last)

    def undecided(self, logits: Tensor) -> Tensor:
        """Voxels (B, I, J[, K]) that no class is sure of: the probability decides, not the logit."""
        best = torch.softmax(logits.detach().float(), dim=1).amax(dim=1)
        return torch.ones_like(best, dtype=torch.bool) if self.threshold >= 1 else best < self.threshold

    @torch.compiler.disable  # type: ignore[untyped-decorator] # it would be compiled anew for the box of each image
    def decide(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, num_classes, I, J[, K]), and which head each voxel's are from (B, I, J[, K]): 0, 1 or 2."""
        logits, stages = zip(*(self._decide(image) for image in torch.split(x, 1)), strict=True)
        return torch.cat(logits), torch.cat(stages)

    def _decide(self, x: Tensor) -> tuple[Tensor, Tensor]:
        padded = pad_small(x, self.minimum)
        maps = self.encoder.maps(padded)
        tapped = list(islice(maps, len(self.encoder.channels) - 2))[-1]
        logits = _enlarged(apply(self.heads[0], tapped), padded, x)
        undecided = torch.ones_like(logits[:, 0], dtype=torch.bool)
        stage = torch.zeros_like(undecided, dtype=torch.uint8)
        grids = [tuple(tapped.shape[2:])]
        for step in self.steps:
            grids.append(cells(grids[-1], step))
        part = Box.all(grids[0])  # of the map, which has been computed
        for number in (1, 2):
            undecided = undecided & self.undecided(logits)
            if not undecided.any():
                break
            stage = stage + undecided
            asked = [self._asked(undecided[0], padded, grid) for grid in grids[number:]]
            if self.reaches:
                parts = needed(self.reaches[number - 1 :], asked, grids[number - 1 :])
                layer = self._later_layers()[number - 1]
                for block, reach, wanted in zip(layer, self.reaches[number - 1], parts, strict=True):
                    tapped, part = block(wanted.cut(tapped, part)), reach.gives(wanted)
            else:
                tapped, part = next(maps), Box.all(grids[number])
            scores = apply(self.heads[number], asked[0].cut(tapped, part))
            scores = _enlarged(asked[0].spread(scores, grids[number]), padded, x)
            logits = torch.where(undecided.unsqueeze(1), scores, logits)
        return logits, stage

    def _asked(self, mask: Tensor, padded: Tensor, grid: PerAxis) -> Box:
        """The part of a map from which a head scores the voxels of a mask."""
        if not self.has_parts:
            return Box.all(grid)
        one = (1,) * len(grid)
        return Reach(one, one).needs(interpolated(mask, padded.shape[2:], grid), grid, one)

    def _later_layers(self) -> list[nn.Sequential]:
        """A ResNet's last two layers, where parts of them can be computed."""
        if not (self.has_parts and isinstance(self.encoder, ResNet)):
            return []
        return [cast(nn.Sequential, self.encoder.get_submodule(f"layer{number}")) for number in (3, 4)]


def _enlarged(scores: Tensor, padded: Tensor, image: Tensor) -> Tensor:
    return crop(resize(scores, padded.shape[2:]), image.shape[2:])
