"""DeepLab v3: Chen, Papandreou, Schroff and Adam 2017, arXiv 1706.05587."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.encoders import Backbone
from medseg.networks.layers.aspp import ASPP, RATES
from medseg.networks.layers.auxiliary_head import AuxiliaryHead
from medseg.networks.layers.blocks import apply, conv, conv_norm_act, initialise, initialise_classifier, scaled
from medseg.networks.layers.encoder_network import EncoderNetwork
from medseg.networks.layers.patches import rate_warnings
from medseg.networks.options import Count, Probability
from medseg.networks.outputs import Output


class DeepLabV3(EncoderNetwork):
    """The paper's two networks on a dilated encoder: ASPP on its last map, or a cascade of further ResNet stages.

    As it is without options it is torchvision's ``deeplabv3_resnet50``, layer by layer, but for the group norm after
    image pooling (see ``aspp.ImagePooling``). In 3D most of its parameters are ASPP's 3x3x3 convolutions: take
    ``separable: true`` or a small encoder.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        num_classes: of the logits.
        backbone: the encoder's options. The paper trains at an output stride of 16 and tests at 8, torchvision is at 8.
        multi_grid: factors on the dilations of a ResNet's last stage, one 3x3 convolution after the other. The paper's
            best are (1, 2, 4) with ASPP and (1, 2, 1) in the cascade; (1, 1, 1) is none, and keeps ImageNet weights'
            meaning.
        cascade: copies of the last stage after it, each at twice the dilation (the paper's block5 to block7). Above 0
            they take the place of ASPP, whose options are then refused (``extra_conv`` has no effect).
        atrous_rates: of ASPP; None is the paper's for the output stride. They count cells of the last map: on small
            patches take at most 0.4 of its length (``patch_warnings`` tells).
        separable: depthwise-separable convolutions in ASPP's rated branches.
        extra_conv: a 3x3 convolution between ASPP and the classifier, as in torchvision; the paper has none.
        auxiliary: train a head on the third stage too, with weight 0.5, as torchvision does and the paper does not; it
            is not run in eval mode.
        dropout: after ASPP or the cascade; torchvision's.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        backbone: Backbone = Backbone(output_stride=8),  # noqa: B008 - frozen
        multi_grid: tuple[Count, ...] = (1, 1, 1),
        cascade: Literal[0, 1, 2, 3] = 0,
        atrous_rates: tuple[Count, ...] | None = None,
        separable: bool = False,
        extra_conv: bool = True,
        auxiliary: bool = False,
        dropout: Probability = 0.5,
    ) -> None:
        if cascade and (atrous_rates or separable):
            wrong = "atrous_rates" if atrous_rates else "separable"
            raise ConfigError(f"network.{wrong}: the cascade takes ASPP's place; remove {wrong} or set cascade: 0")
        grid = () if set(multi_grid) <= {1} else multi_grid
        super().__init__(spatial_dims, in_channels, backbone, multi_grid=grid, cascade=cascade)
        norm, channels = backbone.norm, self.encoder.channels[-1]
        self.rates: tuple[int, ...] = ()
        self.encoder_rates = _dilations(self.modules()) if grid or cascade else []  # there is no head yet
        self.encoder_key = "cascade" if cascade else "multi_grid"
        layers: list[nn.Module] = []
        if cascade:
            layers.append(nn.Dropout(dropout))
        else:
            self.rates = tuple(atrous_rates or RATES[backbone.output_stride])
            width = scaled(256, backbone.width)
            layers.append(
                ASPP(spatial_dims, channels, width, rates=self.rates, separable=separable, norm=norm, dropout=dropout)
            )
            if extra_conv:
                layers.append(conv_norm_act(spatial_dims, width, width, 3, norm=norm))
            channels = width
        self.head = nn.Sequential(*layers)
        self.classifier = conv(spatial_dims, channels, num_classes, 1)
        self.auxiliary = (
            AuxiliaryHead(spatial_dims, self.encoder, num_classes, backbone=backbone, weight=0.5) if auxiliary else None
        )
        initialise(self.head)
        initialise_classifier(self.classifier)

    def score(self, maps: list[Tensor]) -> Output:
        """Scores at the size of the last map."""
        scores = apply(self.classifier, self.head(maps[-1]))
        return scores if self.auxiliary is None else self.auxiliary.beside(scores, maps)

    def patch_warnings(self, patch_size: Sequence[int]) -> list[str]:
        """Name the atrous rates that reach beyond the last map of such a patch."""
        strides = self.encoder.strides[-1]
        return [
            *rate_warnings("atrous_rates", self.rates, patch_size, strides),
            *rate_warnings(self.encoder_key, self.encoder_rates, patch_size, strides, listed=False),
        ]


def _dilations(layers: Iterable[nn.Module]) -> list[int]:
    return [max(layer.dilation) for layer in layers if isinstance(layer, nn.Conv2d | nn.Conv3d)]
