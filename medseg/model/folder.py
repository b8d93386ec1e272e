"""A model folder: weights.safetensors and model.json, all that is needed to segment as the network was trained to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.errors import CheckpointError, ConfigError
from medseg.files import atomic_path
from medseg.model.classes import Classes
from medseg.model.spec import ModelSpec, from_entries, to_entries

if TYPE_CHECKING:
    import torch
    from torch import nn


def save_model(folder: Path, network: nn.Module, spec: ModelSpec) -> None:
    """Write weights.safetensors and model.json: all that ``load_segmenter`` needs.

    Raises:
        OSError: the folder cannot be written; what stood there before stays whole.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    with atomic_path(folder / "weights.safetensors") as path:
        save_file(weights, path)
    write_spec(folder, spec)


def write_spec(folder: Path, spec: ModelSpec) -> Path:
    """Write model.json, whole or not at all, and return its path."""
    path = folder / "model.json"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(to_entries(spec), indent=2) + "\n")
    return path


def copy_model(source: Path, folder: Path) -> None:
    """Copy a model folder's (or run folder's) two files.

    Raises:
        CheckpointError: one of them is missing.
        OSError: they cannot be written; what stood there before stays whole.
    """
    for name in ("weights.safetensors", "model.json"):
        with atomic_path(folder / name) as path:
            path.write_bytes((model_folder(source) / name).read_bytes())


def model_folder(model: Path | str) -> Path:
    """The folder that holds model.json and weights.safetensors: the one given, or the run folder's model/.

    Raises:
        CheckpointError: one of the files is missing.
    """
    folder = Path(model)
    if (folder / "model" / "model.json").is_file():
        folder = folder / "model"
    for name in ("model.json", "weights.safetensors"):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder}: expected a model folder with model.json and weights.safetensors; no {name}"
            )
    return folder


def model_classes(model: Path | str) -> Classes:
    """The classes of a model folder, without loading its weights.

    Raises:
        CheckpointError: a file is missing, or model.json is none.
    """
    return read_spec(model_folder(model)).classes


def load_network(folder: Path, spec: ModelSpec) -> nn.Module:
    """Build the network that a model folder describes, with its weights.

    Raises:
        CheckpointError: it cannot be built by this medseg, or the weights are broken or do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from medseg.networks import build_network

    try:
        view, channels = spec.view, spec.classes.num_channels
        network = build_network(spec.network, view.spatial_dims, view.in_channels, channels, **spec.options)
    except (ConfigError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / 'model.json'}: not usable by this medseg ({error})") from error
    try:
        weights = load_file(folder / "weights.safetensors")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder / 'weights.safetensors'}: not a whole safetensors file ({error})") from error
    load_weights(network, weights, f"{folder / 'weights.safetensors'}", spec.network)
    return network


def load_weights(network: nn.Module, weights: dict[str, torch.Tensor], what: str, name: str) -> None:
    """Load a state dict that must fit exactly.

    Raises:
        CheckpointError: says how many tensors are missing, unexpected or of another shape, and names the first.
    """
    own = network.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unexpected = sorted(weights.keys() - own.keys())
    shapes = [k for k in own.keys() & weights.keys() if own[k].shape != weights[k].shape]
    if missing or unexpected or shapes:
        first = (missing or unexpected or sorted(shapes))[0]
        raise CheckpointError(
            f"{what} does not fit the network {name!r}: {len(missing)} tensors missing, {len(unexpected)} unexpected, "
            f"{len(shapes)} of another shape (first: {first}). It belongs to another network or other options; "
            "use the pipeline it was trained with"
        )
    network.load_state_dict(weights)


def read_spec(folder: Path) -> ModelSpec:
    """Read a model folder's model.json.

    Raises:
        CheckpointError: it is none, of a newer format, or has values that this medseg cannot use.
    """
    path = folder / "model.json"
    try:
        entries = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path}: not a model description ({error!r})") from error
    return from_entries(entries, str(path))
