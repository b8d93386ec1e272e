"""A tiny model whose answer is known."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medseg.inference.model import save_model
from medseg.networks import build_network
from medseg.types import ModelSpec, StudyInput

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


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module ``fakes/fake_batch.py``, which spawned processes can import too."""
    folder = str(Path(__file__).parent / "fakes")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])]))
    return importlib.import_module("fake_batch")


@pytest.fixture
def numbers(tmp_path: Path) -> Callable[..., list[StudyInput]]:
    """Studies for the fake segmenter, named a, b, c, ...: ``numbers(1, 2, 3)``; None is no number."""

    def make(*values: int | None) -> list[StudyInput]:
        folder = tmp_path / "numbers"
        folder.mkdir(exist_ok=True)
        paths = [folder / f"{chr(ord('a') + place)}.txt" for place in range(len(values))]
        for path, value in zip(paths, values, strict=True):
            path.write_text("no number" if value is None else str(value))
        return [StudyInput(path.stem, path) for path in paths]

    return make
