"""What training changes: the network with its optimiser, the average of its weights, and how it is run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from medseg.errors import ConfigError
from medseg.networks.outputs import Output
from medseg.training.distributed import ALONE, World
from medseg.training.settings import Precision, Training


@dataclass
class Trainee:
    """Called with an image it gives what the network returns in train mode.

    Attributes:
        network: the bare module, whose weights are saved.
        model: what is called: the network, compiled or wrapped for several processes.
        optimizer: over the network's parameters.
        average: exponential moving average of the weights, or None.
        scaler: loss scaling; does nothing unless the precision is float16.
        device: where it runs.
        precision: of the forward pass.
        channels_last: memory layout of the images.
    """

    network: nn.Module
    model: Callable[[Tensor], Output]
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    scaler: torch.amp.GradScaler
    device: torch.device
    precision: Precision = "float32"
    channels_last: bool = False

    @staticmethod
    def of(
        network: nn.Module, settings: Training, device: torch.device, *, spatial_dims: int, world: World = ALONE
    ) -> Trainee:
        """A network ready to be trained: on its device, and wrapped for several processes.

        Raises:
            ConfigError: float16 without CUDA.
        """
        if settings.precision == "float16" and device.type != "cuda":
            raise ConfigError("training.precision: float16 needs CUDA; use bfloat16 or float32 on the CPU")
        network = network.to(device)
        if settings.channels_last:
            layout = torch.channels_last if spatial_dims == 2 else torch.channels_last_3d
            network = network.to(memory_format=layout)  # type: ignore[call-overload]
        if world.size > 1 and device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        model = torch.compile(network) if settings.compile else network
        if world.size > 1:
            cards = [device] if device.type == "cuda" else None
            model = nn.parallel.DistributedDataParallel(model, device_ids=cards)
        return Trainee(
            network=network,
            model=model,
            optimizer=settings.optimizer.build(network),
            average=averaged(network, settings.ema_decay),
            scaler=torch.amp.GradScaler(device.type, enabled=settings.precision == "float16"),
            device=device,
            precision=settings.precision,
            channels_last=settings.channels_last,
        )

    def __call__(self, image: Tensor) -> Output:
        """The network's output for images (B, C, I, J[, K]) of any device, in the precision of training."""
        image = image.to(self.device, non_blocking=True)
        if self.channels_last:
            layout = torch.channels_last if image.ndim == 4 else torch.channels_last_3d
            image = image.contiguous(memory_format=layout)
        with self._autocast():
            return self.model(image)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self.precision))

    @property
    def evaluated(self) -> nn.Module:
        """The weights that validate and are kept: the average if there is one."""
        return self.average.module if self.average is not None else self.network

    def state_dicts(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dicts(self, states: dict[str, Any]) -> None:
        """Continue from ``state_dicts``."""
        self.network.load_state_dict(states["network"])
        self.optimizer.load_state_dict(states["optimizer"])
        self.scaler.load_state_dict(states["scaler"])
        if self.average is not None:
            self.average.load_state_dict(states["average"])


def averaged(network: nn.Module, decay: float | None) -> AveragedModel | None:
    """Exponential moving average of the weights and buffers, or None without a decay.

    The decay rises from 0.1 as (1 + n) / (10 + n), so that the first, random weights are soon forgotten.
    """
    if decay is None:
        return None

    def move(average: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        n = float(updates)
        return average.lerp(current, 1.0 - min(decay, (1.0 + n) / (10.0 + n)))

    def average_of(mean: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        return move(mean, current, updates) if mean.is_floating_point() else current

    return AveragedModel(network, avg_fn=average_of, use_buffers=True)
