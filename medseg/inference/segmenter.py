"""One study in, one segmentation out: a model folder (weights.safetensors + model.json) as a callable.

segmenter = load_segmenter("runs/liver_ct/2026.../model")
segmenter.segment_file("study.nii.gz", "segmentation.nii.gz")
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medseg.errors import CheckpointError, ConfigError, StudyError
from medseg.files import atomic_path
from medseg.inference.crf import CRFSettings, mean_field
from medseg.inference.postprocess import keep_largest
from medseg.inference.result import Segmentation
from medseg.inference.sliding_window import Windows, predict_logits
from medseg.networks import build_network
from medseg.study.inputs import read_input
from medseg.study.nifti import write_labels
from medseg.transforms.preprocessing import Preprocessing, preprocess
from medseg.transforms.restore import restore
from medseg.types import Grid, ModelSpec, StudyInput, Volume

MODEL_FORMAT = 1
"""Version of model.json."""

logger = logging.getLogger(__name__)


class Segmenter:
    """A trained network with everything needed to use it as it was trained.

    Args:
        network: built and loaded; moved to ``device`` and set to eval.
        spec: what model.json says.
        device: where it runs.
    """

    def __init__(self, network: nn.Module, spec: ModelSpec, device: str | torch.device = "cpu") -> None:
        self.network = network.to(device).eval()
        self.spec = spec
        self.preprocessing = Preprocessing(**{k: _tuple(v) for k, v in spec.preprocessing.items()})
        settings = dict(spec.inference)
        self.keep_largest = tuple(spec.class_names.index(n) + 1 for n in settings.pop("keep_largest", ()))
        crf = settings.pop("crf", None)  # absent from models older than the key
        self.crf = None if crf is None else CRFSettings(**crf)
        self.windows = Windows(
            mode=spec.mode, slab_neighbours=spec.slab_neighbours, **{k: _tuple(v) for k, v in settings.items()}
        )

    def segment_volume(self, image: Volume) -> Segmentation:
        """``segment``, with all else that the settings ask for beside the label map."""
        return Segmentation(self.segment(image), self.spec.class_names)

    def segment(self, image: Volume) -> NDArray[np.uint8]:
        """Segment one CT in memory.

        Args:
            image: voxels in HU and their grid.

        Returns:
            (I, J, K) uint8 class indices on the image's own grid; 0 is background, c is ``spec.class_names[c - 1]``.
        """
        study = preprocess(image, self.preprocessing)
        logits = predict_logits(self.network, study.image, self.windows, self.spec.num_classes)
        if self.crf is not None:
            device = next((p.device for p in self.network.parameters()), logits.device)
            spacing_mm = study.grid.spacing_mm
            logits = mean_field(logits.to(device), study.image.to(device), spacing_mm, self.crf).cpu()
        classes = restore(logits, study)
        return keep_largest(classes, self.keep_largest) if self.keep_largest else classes

    def segment_array(self, voxels_hu: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Segment an (I, J, K) array in HU with its (4, 4) voxel -> RAS+ millimetre affine."""
        i, j, k = voxels_hu.shape
        return self.segment(Volume(voxels_hu, Grid((i, j, k), np.asarray(affine, dtype=float))))

    def segment_file(self, image: StudyInput | Path | str, output: Path | str) -> Path:
        """Segment a file of any format, or a DICOM folder; write the label map on its own grid, whole or not at all.

        Raises:
            StudyError: the image cannot be read, the output cannot be written, or both are one file.
        """
        study = image if isinstance(image, StudyInput) else StudyInput("", Path(image))
        if os.path.realpath(study.path) == os.path.realpath(output):  # resolve() raises where links run in a circle
            raise StudyError(f"{study.path}: the segmentation would replace its own image; choose another output")
        volume = read_input(study)
        write_labels(Path(output), self.segment(volume), volume)
        return Path(output)


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


def load_segmenter(model: Path | str, device: str | torch.device = "auto") -> Segmenter:
    """Load a model folder; no code of the folder is ever run.

    Args:
        model: a folder with weights.safetensors and model.json, or the run folder that holds it as model/.
        device: auto (CUDA where there is one), cpu or cuda.

    Raises:
        CheckpointError: a file is missing, broken, newer than this medseg, or does not fit the network it names.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(model)
    if (folder / "model" / "model.json").is_file():
        folder = folder / "model"
    for name in ("model.json", "weights.safetensors"):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder}: expected a model folder with model.json and weights.safetensors; no {name}"
            )
    spec = _read_spec(folder / "model.json")
    try:
        network = build_network(spec.network, spec.spatial_dims, spec.in_channels, spec.num_classes, **spec.options)
        segmenter = Segmenter(network, spec)
    except (ConfigError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / 'model.json'}: not usable by this medseg ({error})") from error
    try:
        weights = load_file(folder / "weights.safetensors")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder / 'weights.safetensors'}: not a whole safetensors file ({error})") from error
    load_weights(network, weights, f"{folder / 'weights.safetensors'}", spec.network)
    network.to(pick_device(device) if isinstance(device, str) else device)
    return segmenter


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


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
