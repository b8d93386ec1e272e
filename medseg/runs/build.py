"""From config to objects: the only module that sees both.

Config objects stop here; everything below takes plain arguments.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.config.problems import Problem
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
    from medseg.training.validation import OnStudy, Validator

COARSE_MODEL = "locate"
"""Folder of the coarse model, inside the folder of the model that it finds the organ for."""

_log = logging.getLogger(__name__)


def network_problems(pipeline: Mapping[str, Any]) -> list[Problem]:
    """Check ``network`` against the table, for ``config.load``: the name, the options' names, and their values.

    The network is then built without memory for its weights, so that options which do not go together are found before
    any data is read, and so is a file of pretrained weights that is missing or that the network has no use for.
    """
    return [*_option_problems(pipeline), *_weights_problems(pipeline)]


def _option_problems(pipeline: Mapping[str, Any]) -> Iterator[Problem]:
    from medseg.networks import check_options
    from medseg.networks.weights import encoder_of

    section = _section(pipeline, "network")
    name = section.get("name")
    if not isinstance(name, str):
        return  # the schema reports that
    options = {k: v for k, v in section.items() if k not in NetworkConfig.model_fields}
    dims = 2 if _section(pipeline, "data").get("mode") in ("slice", "slab") else 3
    try:
        check_options(name, options)
        net = _build_without_memory(name, dims, options)
        if section.get("encoder_weights") is not None:
            encoder_of(net)
    except ConfigError as error:
        yield from (_network_problem(line) for line in str(error).splitlines())


def _weights_problems(pipeline: Mapping[str, Any]) -> Iterator[Problem]:
    path = _section(pipeline, "network").get("encoder_weights")
    if isinstance(path, str) and not Path(path).is_file():
        yield Problem("network.encoder_weights", f"expected a file, found none at {path}")


def _network_problem(line: str) -> Problem:
    key, _, text = line.partition(": ")
    return Problem(key, text) if key.startswith("network.") else Problem("network", line)


def _build_without_memory(name: str, dims: int, options: Mapping[str, Any]) -> nn.Module:
    import torch

    from medseg.networks import build_network

    with torch.device("meta"):
        return build_network(name, dims, 1, 2, **options)


def label_map_of(config: PipelineConfig) -> Callable[[Study], LabelMap]:
    """How the label values of each study become classes: the pipeline's ``labels``, or the study's own label map."""
    maps = {"": config.label_map, **{name: _other_map(config, name) for name in config.data.label_maps}}

    def of(study: Study) -> LabelMap:
        if study.label_map not in maps:
            known = ", ".join(sorted(set(maps) - {""})) or "none"
            raise ConfigError(
                f"{study.study_id}: the manifest's label_map is {study.label_map!r}; data.label_maps has {known}"
            )
        return maps[study.label_map]

    return of


def segmentation_map(class_names: Sequence[str]) -> LabelMap:
    """The values medseg itself writes: class c is value c."""
    return LabelMap({name: (index,) for index, name in enumerate(class_names, start=1)})


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


def validator(config: PipelineConfig, studies: Sequence[Study], on_study: OnStudy | None = None) -> Validator | None:
    """Scores whole validation studies during training, and shows each to ``on_study``; None without any."""
    from medseg.study.load import load_study
    from medseg.training.validation import ValidationStudy, Validator

    label_map = label_map_of(config)

    def reader(study: Study) -> Callable[[], tuple[Volume, Any]]:
        def read() -> tuple[Volume, Any]:
            loaded = load_study(study, label_map)
            assert loaded.label is not None  # split() refuses a validation study without one
            return loaded.image, loaded.label.voxels

        return read

    if not studies:
        return None
    return Validator([ValidationStudy(s.study_id, reader(s)) for s in studies], model_spec(config), on_study)


def set_up_torch(config: PipelineConfig) -> None:
    """Threads and determinism, for the whole process."""
    import os

    import torch

    if config.training.threads is not None:
        torch.set_num_threads(config.training.threads)
    torch.use_deterministic_algorithms(config.training.deterministic, warn_only=True)
    if config.training.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only with a fixed workspace


def _other_map(config: PipelineConfig, name: str) -> LabelMap:
    from medseg.study.label_map import parse_labels

    own = parse_labels(config.data.label_maps[name])
    # class indices follow the pipeline's labels; a class that this map leaves out does not occur in its studies
    classes = {n: own.classes.get(n, ()) for n in config.label_map.names}
    return LabelMap(classes, own.ignore, own.background, own.rest_is_background)


def _section(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = mapping.get(key)
    return section if isinstance(section, dict) else {}
