"""The networks: one table, one architecture a file, one code for slices (2D) and volumes (3D).

    NETWORKS          the table, written by hand
    build_network     name + options -> torch module
    check_options     options -> checked options, or every mistake at once (needs no data)
    blocks.py         convolutions, norms, initialisation
    upsampling.py     interpolation, bilinear deconvolution, unpooling
    sizes.py          padding and cropping for any input size
    aspp.py           the DeepLab head's parallel branches
    encoders/         VGG16, ResNet, MobileNetV2: each once, for all architectures
    fcn.py, ...       one architecture a file
    table.py          parameter counts for `medseg networks`

The contract that tests/networks/test_contract.py holds every row of the table to: a network is called with an image
(B, C, I, J) or (B, C, I, J, K) and returns logits (B, num_classes, I, J[, K]) of exactly the input's size, for any
size, in train and eval mode, for batch 1, with every norm. Adding a network: its file, its row here, its fragment in
configs/networks/.

Auxiliary outputs (none of the networks here has any): a network with deep supervision will return, in train mode
only, a frozen dataclass of its logits and a tuple of (auxiliary logits, weight), all at the input's size; in eval mode
the plain tensor. The network declares the weights; the training step adds the losses.

This module imports no torch: the table is read by the command line, the architectures are imported when one is built.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from medseg.errors import ConfigError
from medseg.networks.options import checked_options, nearest, options_of

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NETWORKS", "NetworkInfo", "build_network", "check_options", "check_patch", "network_options"]


@dataclass(frozen=True)
class NetworkInfo:
    """One row of the table.

    Attributes:
        module: the architecture's file in this package.
        builder: the class in it, called as ``builder(spatial_dims, in_channels, num_classes, **options)``.
        paper: title of the publication.
        year: of the publication.
        arxiv: arXiv id, or None.
        encoders: names the user can choose from (or the only one).
        small: options of a form that runs in seconds on a CPU (tests, smoke runs).
        note: what to know before choosing it.
        dims: spatial dimensions it is built for.
    """

    module: str
    builder: str
    paper: str
    year: int
    arxiv: str | None
    encoders: tuple[str, ...]
    small: Mapping[str, Any]
    note: str
    dims: tuple[int, ...] = (2, 3)

    def load(self) -> Callable[..., nn.Module]:
        """Import the architecture's file and return its builder."""
        builder: Callable[..., nn.Module] = getattr(import_module(f"medseg.networks.{self.module}"), self.builder)
        return builder


NETWORKS: dict[str, NetworkInfo] = {
    "fcn": NetworkInfo(
        module="fcn",
        builder="FCN",
        paper="Fully Convolutional Networks for Semantic Segmentation",
        year=2015,
        arxiv="1411.4038",
        encoders=("vgg16",),
        small={"width": 0.125, "fc_kernel": 3, "fc_width": 32},
        note="variants 32s, 16s, 8s; has no norm unless asked: norm: batch eases training from scratch",
    ),
    "segnet": NetworkInfo(
        module="segnet",
        builder="SegNet",
        paper="SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation",
        year=2017,
        arxiv="1511.00561",
        encoders=("vgg16",),
        small={"width": 0.125, "stages": 4},
        note="upsamples by max-pool indices; stages: 4 and width: 0.5 suit 3D patches",
    ),
    "deeplabv3plus": NetworkInfo(
        module="deeplabv3plus",
        builder="DeepLabV3Plus",
        paper="Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
        year=2018,
        arxiv="1802.02611",
        encoders=("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "mobilenet_v2"),
        small={
            "encoder": "resnet18",
            "width": 0.125,
            "aspp_channels": 16,
            "decoder_channels": 16,
            "low_level_channels": 8,
            "atrous_rates": (1, 2, 3),
        },
        note="patches below 300 voxels want smaller atrous_rates or stem_stride: 1 (a warning says so)",
    ),
    "unet": NetworkInfo(
        module="unet",
        builder="UNet",
        paper="Left-Ventricle Quantification Using Residual U-Net",
        year=2019,
        arxiv=None,
        encoders=("residual",),
        small={"channels": (8, 16, 32), "strides": (2, 2), "num_res_units": 1},
        note="MONAI's residual U-Net: the yardstick",
    ),
}


def build_network(name: str, spatial_dims: int, in_channels: int, num_classes: int, **options: Any) -> nn.Module:
    """Build a network with freshly initialised weights (seed torch first for repeatable ones).

    Args:
        name: a key of NETWORKS.
        spatial_dims: 2 for slices and slabs, 3 for patches.
        in_channels: channels of the image.
        num_classes: channels of the logits, background included.
        options: the network's own; see ``network_options``.

    Raises:
        ConfigError: unknown name, unknown option, a value that an option does not take, or a dimension that the network
            is not built for; the message lists every mistake and the choices.
    """
    info = _info(name)
    if spatial_dims not in info.dims:
        raise ConfigError(f"network {name}: expected spatial_dims in {info.dims}, found {spatial_dims}")
    return info.load()(spatial_dims, in_channels, num_classes, **check_options(name, options))


def network_options(name: str) -> dict[str, inspect.Parameter]:
    """Option name -> parameter (annotation and default) of a network.

    Raises:
        ConfigError: unknown name.
    """
    return options_of(_info(name).load())


def check_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Check a network's options against its signature, before any data is read.

    Returns:
        The options as the network takes them (YAML lists become tuples); absent ones are left to their defaults.

    Raises:
        ConfigError: unknown network or options, or values of the wrong kind; one line for each mistake.
    """
    return checked_options(_info(name).load(), name, options)


def check_patch(network: nn.Module, patch_size: Sequence[int]) -> list[str]:
    """What does not suit a patch of this size (atrous rates beyond the feature map); empty when all is well.

    Args:
        network: as built by ``build_network``, not yet compiled or wrapped.
        patch_size: voxels along the spatial axes of the network's input.
    """
    method = getattr(network, "patch_warnings", None)
    return list(method(patch_size)) if callable(method) else []


def _info(name: str) -> NetworkInfo:
    if name not in NETWORKS:
        raise ConfigError(
            f"network.name: unknown network {name!r}{nearest(name, NETWORKS)}; expected one of {', '.join(NETWORKS)}"
        )
    return NETWORKS[name]
