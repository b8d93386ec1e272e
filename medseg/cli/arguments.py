"""Arguments and choices that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Device(StrEnum):
    """Choices of ``--device``."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Uncertainty(StrEnum):
    """Choices of ``--uncertainty``."""

    NONE = "none"
    ENTROPY = "entropy"
    DISAGREEMENT = "disagreement"


class Backend(StrEnum):
    """Choices of ``--backend``."""

    TORCH = "torch"
    OPENVINO = "openvino"
    AUTO = "auto"


class Engine(StrEnum):
    """Choices of ``--engine``."""

    LOCAL = "local"
    RAY = "ray"


class Definition(StrEnum):
    """Choices of ``--definition``."""

    ELEMENTS = "elements"
    VOXELS = "voxels"


class EmptyAs(StrEnum):
    """Choices of ``--empty-as``."""

    NAN = "nan"
    ZERO = "zero"
    ONE = "one"


Pipeline = Annotated[Path, typer.Argument(help="A pipeline YAML.", metavar="PIPELINE.yaml")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Overrides such as training.epochs=50.", metavar="[KEY=VALUE]...")
]
Resume = Annotated[
    str | None, typer.Option("--resume", help="Go on with a run: its folder, or 'last' for the pipeline's newest.")
]
