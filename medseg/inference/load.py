"""From a model folder, or several, to a segmenter.

segmenter = load_segmenter("runs/liver_ct/2026.../model")
segmenter.segment_file("study.nii.gz", "segmentation.nii.gz")
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from medseg.errors import CheckpointError, ConfigError
from medseg.inference.backends import run_with
from medseg.inference.segmenter import Segmenter
from medseg.inference.windows import Windows
from medseg.model.device import pick_device
from medseg.model.folder import load_network, model_folder, read_spec
from medseg.model.inference import Inference, Locate
from medseg.model.spec import ModelSpec

logger = logging.getLogger(__name__)


def load_segmenter(
    model: Path | str | Sequence[Path | str],
    device: str | torch.device = "auto",
    *,
    backend: str = "torch",
    memory_gib: float | None = None,
    coarse: Path | str | None = None,
) -> Segmenter:
    """Load a model folder, or several as an ensemble; no code of a folder is ever run.

    Args:
        model: a folder with weights.safetensors and model.json, or the run folder that holds it as model/. Several must
            share classes, view, preprocessing and windows; their networks may differ.
        device: auto (CUDA where there is one), cpu or cuda.
        backend: torch; on the CPU also openvino, whose logits are compared with torch's first, or auto, the faster one.
        memory_gib: budget, in place of the model's own ``inference.memory_gib``.
        coarse: model folder that finds the organ, in place of the model's own ``inference.locate.model``.

    Raises:
        CheckpointError: a file is missing, broken, newer than this medseg, or does not fit the network it names; or the
            models do not go together; or an unknown runtime, or one that is not installed.
    """
    folders = [model_folder(m) for m in ([model] if isinstance(model, str | Path) else model)]
    specs = [read_spec(folder) for folder in folders]
    _require_alike(folders, specs)
    spec = replace(specs[0], inference=_overridden(specs[0].inference, memory_gib, coarse))
    chosen = pick_device(device) if isinstance(device, str) else device
    try:
        finder = _load_coarse(folders[0], spec, chosen, backend)
        return _segmenter(folders, specs, spec, chosen, backend, finder)
    except ConfigError as error:
        raise CheckpointError(f"{folders[0] / 'model.json'}: not usable by this medseg ({error})") from error


def _segmenter(
    folders: Sequence[Path],
    specs: Sequence[ModelSpec],
    spec: ModelSpec,
    device: torch.device,
    backend: str,
    coarse: Segmenter | None = None,
) -> Segmenter:
    """The networks of some folders, each built as its own description says, used as ``spec`` says."""
    networks = tuple(load_network(folder, own) for folder, own in zip(folders, specs, strict=True))
    torch_only = Segmenter(networks, spec, device, coarse=coarse)
    if backend == "torch":
        return torch_only
    if device.type != "cpu" or spec.inference.scales != (1.0,):
        if backend != "auto":
            logger.warning("backend %s: works on the CPU at scale 1; running with torch", backend)
        return torch_only
    shape = Windows.of(spec).input_shape
    return replace(torch_only, runners=tuple(run_with(backend, network, shape[0], shape[1:]) for network in networks))


def _require_alike(folders: Sequence[Path], specs: Sequence[ModelSpec]) -> None:
    for folder, spec in zip(folders[1:], specs[1:], strict=True):
        for field in ("classes", "view", "preprocessing", "inference"):
            first, other = getattr(specs[0], field), getattr(spec, field)
            if first != other:
                raise CheckpointError(
                    f"{folder}: models of an ensemble must agree in {field}: expected {first} as in {folders[0]}, "
                    f"found {other}"
                )


def _overridden(inference: Inference, memory_gib: float | None, coarse: Path | str | None) -> Inference:
    if memory_gib is not None:
        inference = replace(inference, memory_gib=memory_gib)
    if coarse is not None:
        inference = replace(inference, locate=replace(inference.locate or Locate(), model=Path(coarse).resolve()))
    return inference


def _load_coarse(folder: Path, spec: ModelSpec, device: torch.device, backend: str) -> Segmenter | None:
    """The segmenter that finds the organ: another model, or the same weights on a coarser grid."""
    locate = spec.inference.locate
    if locate is None:
        return None
    coarse_folder = folder if locate.model is None else model_folder(folder / locate.model)
    own = read_spec(coarse_folder)
    preprocessing = own.preprocessing
    if locate.model is None:
        preprocessing = replace(preprocessing, spacing_mm=(locate.spacing_mm,) * 3)
    plain = replace(own.inference, locate=None, crf=None, memory_gib=None, flip_axes=(), scales=(1.0,))
    return _segmenter(
        [coarse_folder], [own], replace(own, preprocessing=preprocessing, inference=plain), device, backend
    )
