"""A tiny model whose answer is known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medseg.inference.model import save_model
from medseg.networks import build_network
from medseg.types import ModelSpec

UNET = {"channels": [2, 4], "strides": [2], "num_res_units": 0, "norm": "instance"}


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., tuple[Path, torch.nn.Module, ModelSpec]]:
    """Save a U-Net of random weights and what model.json says: ``model("slab", keep_largest=["liver"])``."""

    def make(mode: str = "patch", folder: Path = tmp_path / "model", **inference: Any) -> Any:
        dims, neighbours = (3, 0) if mode == "patch" else (2, 1 if mode == "slab" else 0)
        size = (16, 16, 16) if mode == "patch" else (16, 16, 1)
        spec = ModelSpec(
            network="unet",
            options=UNET,
            spatial_dims=dims,
            in_channels=2 * neighbours + 1,
            class_names=("liver", "tumour"),
            mode=mode,
            slab_neighbours=neighbours,
            preprocessing={"spacing_mm": (6.0, 6.0, None), "intensity_range_hu": (-100.0, 240.0)},
            inference={"size": size, "overlap": 0.25, "flip_axes": (0,), "keep_largest": (), **inference},
        )
        torch.manual_seed(0)
        network = build_network("unet", dims, spec.in_channels, 3, **UNET)
        save_model(folder, network, spec)
        return folder, network, spec

    return make
