"""The names of the encoders, apart from their code: the table of networks needs no torch."""

from __future__ import annotations

from typing import Literal, get_args

EncoderName = Literal[
    "vgg16",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet38",
    "mobilenet_v2",
    "xception41",
    "xception65",
    "xception71",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
]
"""What the option `encoder` takes."""

ENCODERS: tuple[str, ...] = get_args(EncoderName)
"""The same for the rows of NETWORKS whose `encoders` are all of them."""
