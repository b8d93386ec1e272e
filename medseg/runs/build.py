"""From a pipeline to objects: the only module that sees both.

The pipeline as a whole stops here; a room below takes its own settings, and what else it needs as plain arguments.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.config.schema import NetworkConfig, PipelineConfig
from medseg.errors import ConfigError
from medseg.model.spec import ModelSpec
from medseg.types import LabelMap, Study, Volume

if TYPE_CHECKING:
    from torch import nn

    from medseg.data.cache import CachedStudy
    from medseg.data.dataset import PatchDataset
    from medseg.data.loaders import Batches
    from medseg.losses.weighted_sum import WeightedSum
    from medseg.training.distributed import World
    from medseg.training.settings import Training
    from medseg.training.validation import OnStudy, Validator

COARSE_MODEL = "locate"
"""Folder of the coarse model, inside the folder of the model that it finds the organ for."""

_log = logging.getLogger(__name__)


def model_spec(config: PipelineConfig) -> ModelSpec:
    """What model.json will say: the pipeline's settings, with what is left to defaults elsewhere written out."""
    inference, view = config.inference, config.view
    crf, locate = inference.crf, inference.locate
    if crf is not None:
        crf = crf.filled(view.spatial_dims)
    if locate is not None and locate.model is not None:
        locate = replace(locate, model=Path(COARSE_MODEL))  # copied into the model's own folder: see ``run``
    size = inference.window_size or config.data.patch_size
    return ModelSpec(
        network=config.network.name,
        options=config.network.options,
        classes=config.classes,
        view=view,
        preprocessing=config.preprocessing,
        inference=replace(inference, window_size=size, crf=crf, locate=locate),
    )


def network(config: PipelineConfig) -> nn.Module:
    """The network to be trained: its weights are a function of the seed, and of the pretrained ones if there are any.

    Raises:
        CheckpointError: see ``networks.weights``.
    """
    import torch

    from medseg.networks import build_network

    torch.manual_seed(config.training.seed)
    spec = model_spec(config)
    view, channels = spec.view, spec.classes.num_channels
    net = build_network(spec.network, view.spatial_dims, view.in_channels, channels, **spec.options)
    if config.network.encoder_weights is not None:
        _load_pretrained(net, config.network.encoder_weights, config.network)
    return net


def _load_pretrained(net: nn.Module, path: Path, settings: NetworkConfig) -> None:
    from medseg.networks.weights import load_encoder_weights

    report = load_encoder_weights(net, path, settings.weights_inflation)
    _log.info("network.encoder_weights: %s: %s", path, report)
    for surprise in report.surprises:
        _log.warning("network.encoder_weights: %s: %s", path, surprise)


def dataset(config: PipelineConfig, studies: Sequence[CachedStudy]) -> PatchDataset:
    """Endless crops of the cached training studies."""
    from medseg.data.dataset import PatchDataset

    return PatchDataset(studies, config.data, config.augmentation, classes=config.classes, seed=config.training.seed)


def loss(config: PipelineConfig, studies: Sequence[CachedStudy]) -> WeightedSum:
    """The pipeline's loss; ``balanced`` weights count the training studies' voxels."""
    from medseg.losses.weighted_sum import build_loss

    voxels: Counter[int] = Counter()
    for study in studies:
        voxels.update(study.class_voxels)
    return build_loss(config.training.loss, config.classes, voxels)


def labelled(config: PipelineConfig, studies: Sequence[CachedStudy], world: World) -> Batches:
    """The stream of crops of the training studies.

    Raises:
        ConfigError: a batch that cannot be shared out evenly.
    """
    import torch

    from medseg.data.loaders import Batches

    if config.data.batch_size % world.size:
        raise ConfigError(
            f"data.batch_size: expected a multiple of the {world.size} processes that share each batch, found "
            f"{config.data.batch_size}"
        )
    return Batches(
        dataset(config, studies),
        config.data.batch_size,
        num_workers=config.data.num_workers,
        rank=world.rank,
        world_size=world.size,
        pin_memory=torch.cuda.is_available(),
    )


def validator(
    studies: Sequence[Study],
    spec: ModelSpec,
    label_map_of: Callable[[Study], LabelMap],
    on_study: OnStudy | None = None,
) -> Validator | None:
    """Scores whole validation studies during training, and shows each to ``on_study``; None without any."""
    from medseg.study.load import load_study
    from medseg.training.validation import ValidationStudy, Validator

    def read(study: Study) -> tuple[Volume, Any]:
        loaded = load_study(study, label_map_of)
        assert loaded.label is not None  # split() refuses a validation study without one
        return loaded.image, loaded.label.voxels

    if not studies:
        return None
    return Validator([ValidationStudy(s.study_id, partial(read, s)) for s in studies], spec, on_study)


def set_up_torch(settings: Training) -> None:
    """Threads and determinism, for the whole process."""
    import os

    import torch

    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(settings.deterministic, warn_only=True)
    if settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only with a fixed workspace
