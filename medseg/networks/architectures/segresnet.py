"""SegResNet: Myronenko 2018, arXiv 1810.11654, without its autoencoder branch; MONAI's two forms of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.layers.blocks import Norm
from medseg.networks.layers.monai_network import MonaiNetwork, with_norm
from medseg.networks.options import Count, Probability
from medseg.networks.outputs import Auxiliary, Output, TrainingOutput

Filters = Annotated[int, Field(ge=8, multiple_of=8)]

GROUPS = 8
"""Of MONAI's group norm."""


class SegResNet(MonaiNetwork):
    """``monai.networks.nets.SegResNet`` or ``SegResNetDS`` for any input size.

    Both add a decoder of one residual block a level to an encoder that doubles its channels at each level. `plain`
    enlarges by a 1x1 convolution and interpolation. `ds` enlarges by 3x3 deconvolutions and can train scores of coarser
    maps too; it is the network of MONAI's Auto3DSeg.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        variant: `plain` or `ds`.
        init_filters: channels of the first level, a multiple of 8. The paper has 32.
        blocks_down: residual blocks in each level of the encoder.
        supervised_levels: of the decoder, fine to coarse, that are scored in training (`ds`): each one below the first
            has half the weight of the one before it.
        norm: `group` is the paper's, with MONAI's 8 groups; MONAI's own default for `ds` is `batch`.
        dropout: of whole channels after the first convolution (`plain`, the paper's is 0.2), or of voxels of the
            coarsest map (`ds`).

    Raises:
        ConfigError: more supervised levels than the variant has.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        variant: Literal["plain", "ds"] = "plain",
        init_filters: Filters = 32,
        blocks_down: Annotated[tuple[Count, ...], Field(min_length=2)] = (1, 2, 2, 4),
        supervised_levels: Count = 1,
        norm: Norm = "group",
        dropout: Probability = 0.0,
    ) -> None:
        from monai.networks.nets.segresnet import SegResNet as MonaiSegResNet  # seconds to import
        from monai.networks.nets.segresnet_ds import SegResNetDS as MonaiSegResNetDS

        levels = len(blocks_down) - 1
        most = levels if variant == "ds" else 1
        if supervised_levels > most:
            raise ConfigError(
                f"network.supervised_levels: expected at most {most} (variant {variant}, {len(blocks_down)} levels), "
                f"found {supervised_levels}"
            )
        group = ("group", {"num_groups": GROUPS})
        network: Any  # its parts have no types
        if variant == "plain":
            network = MonaiSegResNet(
                spatial_dims,
                init_filters,
                in_channels,
                num_classes,
                dropout_prob=dropout or None,
                norm=group,
                blocks_down=blocks_down,
                blocks_up=(1,) * levels,
            )
        else:
            network = MonaiSegResNetDS(
                spatial_dims,
                init_filters,
                in_channels,
                num_classes,
                norm=group,
                blocks_down=blocks_down,
                dsdepth=supervised_levels,
            )
            network.encoder.layers[-1]["blocks"].append(nn.Dropout(dropout))
        super().__init__(with_norm(network, norm, spatial_dims), (2**levels,) * spatial_dims)
        self.supervised_levels = supervised_levels

    def run(self, x: Tensor) -> Output:
        """Logits, and scores of coarser maps where they are trained."""
        output: Tensor | list[Tensor] = self.network(x)
        if isinstance(output, Tensor):
            return output
        logits, *coarser = output
        return TrainingOutput(
            logits,
            tuple(Auxiliary(f"level{level}", scores, 0.5**level) for level, scores in enumerate(coarser, start=1)),
        )

    def train(self, mode: bool = True) -> SegResNet:
        """As torch's; in eval mode MONAI's network would score the coarser maps and throw them away."""
        super().train(mode)
        if self.supervised_levels > 1:
            self.network.dsdepth = self.supervised_levels if mode else 1
        return self
