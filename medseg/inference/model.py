"""A model folder: weights.safetensors and model.json, all that is needed to segment as the network was trained to.

segmenter = load_segmenter("runs/liver_ct/2026.../model")
segmenter.segment_file("study.nii.gz", "segmentation.nii.gz")
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
from torch import nn

from medseg.errors import CheckpointError, ConfigError
from medseg.files import atomic_path
from medseg.inference.locate import Locate
from medseg.inference.segmenter import Segmenter, Wanted
from medseg.networks import build_network
from medseg.types import ModelSpec

MODEL_FORMAT = 1
"""Version of model.json."""


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
    with atomic_path(folder / "model.json") as path:
        path.write_text(json.dumps({"format": MODEL_FORMAT, **asdict(spec)}, indent=2) + "\n")


def copy_model(source: Path, folder: Path) -> None:
    """Copy a model folder's (or run folder's) two files.

    Raises:
        CheckpointError: one of them is missing.
        OSError: they cannot be written; what stood there before stays whole.
    """
    for name in ("weights.safetensors", "model.json"):
        with atomic_path(folder / name) as path:
            path.write_bytes((model_folder(source) / name).read_bytes())


def load_segmenter(
    model: Path | str | Sequence[Path | str],
    device: str | torch.device = "auto",
    *,
    wanted: Wanted = Wanted(),  # noqa: B008  # frozen
    backend: str = "torch",
    memory_gib: float | None = None,
    coarse: Path | str | None = None,
) -> Segmenter:
    """Load a model folder, or several as an ensemble; no code of a folder is ever run.

    Args:
        model: a folder with weights.safetensors and model.json, or the run folder that holds it as model/. Several must
            share classes, mode, preprocessing and windows; their networks may differ.
        device: auto (CUDA where there is one), cpu or cuda.
        wanted: what is made beside the label map.
        backend: torch; on the CPU also openvino, whose logits are compared with torch's first, or auto, the faster one.
        memory_gib: budget, in place of the model's own ``inference.memory_gib``.
        coarse: model folder that finds the organ, in place of the model's own ``inference.locate.model``.

    Raises:
        CheckpointError: a file is missing, broken, newer than this medseg, or does not fit the network it names; or the
            models do not go together.
        ConfigError: see ``Segmenter``.
    """
    folders = [model_folder(m) for m in ([model] if isinstance(model, str | Path) else model)]
    specs = [_read_spec(folder / "model.json") for folder in folders]
    _require_alike(folders, specs)
    networks = [_load_network(folder, spec) for folder, spec in zip(folders, specs, strict=True)]
    spec = _overridden(specs[0], memory_gib, coarse)
    found = pick_device(device) if isinstance(device, str) else device
    try:
        segmenter = Segmenter(networks, spec, found, coarse=_load_coarse(folders[0], spec, found))
    except (ConfigError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folders[0] / 'model.json'}: not usable by this medseg ({error})") from error
    segmenter.want(wanted)
    segmenter.run_with(backend)
    return segmenter


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


def model_classes(model: Path | str) -> tuple[str, ...]:
    """Foreground class names of a model folder, without loading its weights.

    Raises:
        CheckpointError: a file is missing, or model.json is none.
    """
    return _read_spec(model_folder(model) / "model.json").class_names


def _load_network(folder: Path, spec: ModelSpec) -> nn.Module:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network = build_network(spec.network, spec.spatial_dims, spec.in_channels, spec.num_classes, **spec.options)
    except (ConfigError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / 'model.json'}: not usable by this medseg ({error})") from error
    try:
        weights = load_file(folder / "weights.safetensors")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder / 'weights.safetensors'}: not a whole safetensors file ({error})") from error
    load_weights(network, weights, f"{folder / 'weights.safetensors'}", spec.network)
    return network


def _require_alike(folders: Sequence[Path], specs: Sequence[ModelSpec]) -> None:
    for folder, spec in zip(folders[1:], specs[1:], strict=True):
        for field in ("class_names", "mode", "slab_neighbours", "preprocessing", "inference"):
            first, other = getattr(specs[0], field), getattr(spec, field)
            if first != other:
                raise CheckpointError(
                    f"{folder}: models of an ensemble must agree in {field}: expected {first} as in {folders[0]}, "
                    f"found {other}"
                )


def _overridden(spec: ModelSpec, memory_gib: float | None, coarse: Path | str | None) -> ModelSpec:
    inference = dict(spec.inference)
    if memory_gib is not None:
        inference["memory_gib"] = memory_gib
    if coarse is not None:
        inference["locate"] = {**(inference.get("locate") or {}), "model": str(Path(coarse).resolve())}
    return replace(spec, inference=inference)


def _load_coarse(folder: Path, spec: ModelSpec, device: torch.device) -> Segmenter | None:
    """The segmenter that finds the organ: another model, or the same weights on a coarser grid."""
    locate = spec.inference.get("locate")
    if locate is None:
        return None
    own = locate.get("model")
    coarse_folder = model_folder(folder / own) if own else folder
    coarse = _read_spec(coarse_folder / "model.json")
    if not own:
        spacing_mm = [locate.get("spacing_mm", Locate.spacing_mm)] * 3
        coarse = replace(coarse, preprocessing={**coarse.preprocessing, "spacing_mm": spacing_mm})
    plain = {**coarse.inference, "locate": None, "crf": None, "memory_gib": None, "flip_axes": (), "scales": (1.0,)}
    return Segmenter(_load_network(coarse_folder, coarse), replace(coarse, inference=plain), device)


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


def pick_device(device: str, index: int | None = None) -> torch.device:
    """``auto`` is CUDA where there is one; ``index`` tells the cards of one machine apart.

    Raises:
        CheckpointError: CUDA is asked for and is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise CheckpointError("device: expected a CUDA device, found none; use auto or cpu")
    return torch.device("cuda", index) if device == "cuda" and index is not None else torch.device(device)


def _read_spec(path: Path) -> ModelSpec:
    try:
        entries = json.loads(path.read_text())
        version = entries.pop("format")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a model description ({error!r})") from error
    if version != MODEL_FORMAT:
        raise CheckpointError(f"{path}: format {version}, and this medseg reads format {MODEL_FORMAT}; use its version")
    known = {f.name for f in fields(ModelSpec)}
    if entries.keys() != known:
        raise CheckpointError(f"{path}: expected the keys {sorted(known)}, found {sorted(entries)}")
    if not isinstance(entries["class_names"], list):
        raise CheckpointError(f"{path}: class_names: expected a list, found {entries['class_names']!r}")
    entries["class_names"] = tuple(entries["class_names"])
    return ModelSpec(**entries)
