"""From a model folder, or several, to a segmenter.

segmenter = load_segmenter("runs/liver_ct/2026.../model")
segmenter.segment_file("study.nii.gz", "segmentation.nii.gz")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from medseg.errors import CheckpointError, ConfigError
from medseg.inference.locate import Locate
from medseg.inference.segmenter import Segmenter, Wanted
from medseg.model.device import pick_device
from medseg.model.folder import load_network, model_folder, read_spec
from medseg.model.spec import ModelSpec


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
    specs = [read_spec(folder / "model.json") for folder in folders]
    _require_alike(folders, specs)
    networks = [load_network(folder, spec) for folder, spec in zip(folders, specs, strict=True)]
    spec = _overridden(specs[0], memory_gib, coarse)
    found = pick_device(device) if isinstance(device, str) else device
    try:
        segmenter = Segmenter(networks, spec, found, coarse=_load_coarse(folders[0], spec, found))
    except (ConfigError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folders[0] / 'model.json'}: not usable by this medseg ({error})") from error
    segmenter.want(wanted)
    segmenter.run_with(backend)
    return segmenter


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
    coarse = read_spec(coarse_folder / "model.json")
    if not own:
        spacing_mm = [locate.get("spacing_mm", Locate.spacing_mm)] * 3
        coarse = replace(coarse, preprocessing={**coarse.preprocessing, "spacing_mm": spacing_mm})
    plain = {**coarse.inference, "locate": None, "crf": None, "memory_gib": None, "flip_axes": (), "scales": (1.0,)}
    return Segmenter(load_network(coarse_folder, coarse), replace(coarse, inference=plain), device)
