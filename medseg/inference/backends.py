"""Other runtimes for a trained network, used where they give the same logits faster."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from medseg.errors import CheckpointError
from medseg.inference.blockwise_norm import with_blockwise_norms
from medseg.inference.predictor import Network

BACKENDS = ("torch", "openvino", "auto")
"""Names that ``run_with`` knows."""

_TOLERANCE = 1e-4
"""Largest difference of logits, as a share of the largest logit, at which a runtime counts as equal."""

logger = logging.getLogger(__name__)


def run_with(backend: str, network: nn.Module, in_channels: int, window: Sequence[int]) -> Network:
    """A network's callable on the CPU.

    Args:
        backend: torch (the network itself), openvino, or auto: OpenVINO where it is installed and, for the network at
            hand on this machine, measured faster.
        network: in eval mode, on the CPU.
        in_channels: of its input.
        window: voxels of a window, two or three numbers; other sizes are left to torch.

    Raises:
        CheckpointError: an unknown name, or OpenVINO is not installed or cannot run the network.
    """
    if backend == "torch":
        return network
    if backend not in BACKENDS:
        raise CheckpointError(f"backend: expected one of {', '.join(BACKENDS)}, found {backend!r}")
    if backend == "openvino":
        return _checked(_OpenVINO(network, in_channels, window), network, in_channels, window)
    if find_spec("openvino") is None:
        return network
    try:
        runner = _checked(_OpenVINO(network, in_channels, window), network, in_channels, window)
    except CheckpointError as error:
        logger.warning("%s; running with torch", error)
        return network
    return _faster(runner, network, in_channels, window)


def _faster(candidate: Network, network: nn.Module, in_channels: int, window: Sequence[int]) -> Network:
    """The candidate if the better of its two times beats the network's; both have been run once before."""
    if candidate is network:
        return network
    image = torch.zeros((1, in_channels, *window))
    best_s = [math.inf, math.inf]
    with torch.inference_mode():
        for place in (0, 1, 0, 1):
            started_s = time.perf_counter()
            (candidate, network)[place](image)
            best_s[place] = min(best_s[place], time.perf_counter() - started_s)
    logger.info("a window takes %.3f s with openvino, %.3f s with torch", *best_s)
    return candidate if best_s[0] < best_s[1] else network


def _checked(candidate: Network, network: nn.Module, in_channels: int, window: Sequence[int]) -> Network:
    """The candidate if its logits are torch's, else the network, with a warning that gives the difference.

    Half of the image is noise, half of it air: sums over many equal values round worst.
    """
    image = torch.rand((1, in_channels, *window), generator=torch.Generator().manual_seed(0))
    image[..., window[-1] // 2 :] = 0
    with torch.inference_mode():
        expected, logits = network(image), candidate(image)
    difference = float((logits - expected).abs().max() / expected.abs().max().clamp_min(1e-6))
    if difference <= _TOLERANCE:
        logger.info("openvino: logits differ from torch's by %.1e of the largest", difference)
        return candidate
    logger.warning(
        "openvino: logits differ from torch's by %.1e of the largest (allowed: %.0e); running with torch",
        difference,
        _TOLERANCE,
    )
    return network


@contextmanager
def _root_logger_kept() -> Iterator[None]:
    """A conversion that fails leaves the root logger silent for warnings, everybody's."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


class _OpenVINO:
    """One window at a time: batches gain nothing on a CPU, and a fixed shape compiles best."""

    def __init__(self, network: nn.Module, in_channels: int, window: Sequence[int]) -> None:
        try:
            import openvino
        except ImportError as error:
            raise CheckpointError("backend openvino: not installed; pip install 'medseg[openvino]'") from error
        self._network, self._shape = network, (in_channels, *window)
        with torch.inference_mode(), warnings.catch_warnings(), _root_logger_kept():
            warnings.simplefilter("ignore")  # tracing fixes sizes: they are fixed here, and the result is compared
            example = torch.zeros((1, *self._shape))
            try:
                model = openvino.convert_model(
                    with_blockwise_norms(network), example_input=example, input=[(1, *self._shape)]
                )
            except Exception as error:  # of many kinds, for an operation that it does not know
                *_, why = str(error).split("\n\nAt:")[0].strip().splitlines() or [type(error).__name__]
                raise CheckpointError(f"backend openvino: it cannot run this network ({why.strip()})") from error
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        self._compiled = openvino.compile_model(model, "CPU", settings)

    def __call__(self, batch: Tensor) -> Tensor:
        if tuple(batch.shape[1:]) != self._shape:
            return torch.as_tensor(self._network(batch))
        results = [self._compiled(window[None].contiguous().numpy())[0] for window in batch]
        return torch.cat([torch.from_numpy(result.copy()) for result in results])
