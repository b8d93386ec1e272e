"""A network made ready for training, as the settings say."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks import build_network
from medseg.training.settings import Training
from medseg.training.trainee import Trainee

CPU = torch.device("cpu")


def unet() -> nn.Module:
    return build_network("unet", 3, 1, 3, channels=[4, 8], strides=[2], num_res_units=0, norm="instance")


def made(network: nn.Module | None = None, **settings: Any) -> Trainee:
    return Trainee.of(network or unet(), Training(**settings), CPU, spatial_dims=3)


def test_plain_settings_wrap_nothing() -> None:
    plain = made()
    assert plain.average is None
    assert plain.model is plain.network
    assert plain.evaluated is plain.network
    assert not plain.scaler.is_enabled()


def test_average_and_layout() -> None:
    trainee = made(ema_decay=0.9, channels_last=True)
    assert trainee.average is not None
    kernel = next(p for p in trainee.network.parameters() if p.ndim == 5 and p.shape[1] > 1)
    assert kernel.is_contiguous(memory_format=torch.channels_last_3d)


def test_compile_wraps_the_model_and_keeps_the_networks_own_names() -> None:
    network = unet()
    names = list(network.state_dict())
    trainee = made(network, compile=True)
    assert isinstance(trainee.model, torch._dynamo.OptimizedModule)
    assert list(trainee.state_dicts()["network"]) == names


def test_float16_on_the_cpu_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.precision: float16 needs CUDA; use bfloat16"):
        made(precision="float16")


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((2, 3, 4, 4), torch.channels_last), ((2, 3, 4, 4, 4), torch.channels_last_3d)],
    ids=["2D", "3D"],
)
def test_channels_last_reaches_the_network(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    trainee = made(channels_last=True)
    seen: list[Tensor] = []
    trainee.model = lambda image: (seen.append(image), image)[1]  # type: ignore[func-returns-value]
    image = torch.rand(shape)
    trainee(image)
    assert seen[0].is_contiguous(memory_format=layout)
    assert torch.equal(seen[0], image)
