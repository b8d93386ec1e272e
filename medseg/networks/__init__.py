"""The networks: one table, one architecture a file, one code for slices (2D) and volumes (3D).

    NETWORKS          the table (catalogue.py)
    build_network     name + options -> torch module
    check_options     options -> checked options, or every mistake at once (needs no data)
    blocks.py         convolutions, norms, initialisation
    upsampling.py     interpolation, bilinear deconvolution, unpooling
    sizes.py          padding and cropping for any input size
    outputs.py        auxiliary outputs, and the way back to the image's size
    patches.py        warnings of what does not suit a patch
    encoder_network.py   the frame of the architectures that score an encoder's maps
    monai_network.py  the frame of MONAI's networks
    aspp.py           the DeepLab head's parallel branches
    largefov.py       DeepLab v1's head and options
    pyramid_pooling.py   PSPNet's parallel branches
    auxiliary_head.py    the third stage, scored in training
    mirrored.py       VGG16's mirror image, which unpools
    deconvolution.py  learned transposed convolutions
    boxes.py          which part of a map the layers after it need
    conv3d.py         a 3D convolution that trains rightly on short maps
    encoders/         VGG16, ResNet, DenseNet, Xception ...: each once, for all architectures
    weights.py        pretrained weights for encoders, from 2D into 3D too
    fcn.py, ...       one architecture a file
    table.py          rows for `medseg networks`
    macs.py, receptive_field.py   what a network costs and how far it sees, for a patch
    published.py      parameter counts of others, beside ours
    option_rows.py    a network's options in words

The contract that tests/networks/test_contract.py holds every row of the table to: a network is called with an image
(B, C, I, J) or (B, C, I, J, K) and returns logits (B, num_classes, I, J[, K]) of exactly the input's size, for any
size, in train and eval mode, for batch 1, with every norm. Adding a network: its file, its row in
catalogue.py, its fragment in configs/networks/.

In train mode a network with auxiliary outputs returns a ``TrainingOutput`` instead (outputs.py): its logits and, each
with its weight, what else is to be trained. In eval mode every network returns the plain tensor.

This module imports no torch: architectures are imported when one is built.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medseg.errors import ConfigError
from medseg.networks.catalogue import NETWORKS, NetworkInfo
from medseg.networks.options import checked_options, options_of
from medseg.words import did_you_mean

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NETWORKS", "NetworkInfo", "build_network", "check_options", "check_patch", "network_options"]


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
        The arguments of the network's constructor (YAML lists become tuples); absent ones are left to their defaults.

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
        mistake = f"unknown network {name!r}{did_you_mean(name, NETWORKS)}"
        raise ConfigError(f"network.name: {mistake}; expected one of {', '.join(NETWORKS)}")
    return NETWORKS[name]
