"""Whether a pipeline's network can be built at all, known before any data is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.config.problems import Problem
from medseg.config.schema import NetworkConfig
from medseg.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn


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


def _section(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = mapping.get(key)
    return section if isinstance(section, dict) else {}
