"""Every optimiser leaves biases and norms undecayed, and takes its own numbers."""

import pytest
import torch

from medseg.networks import build_network
from medseg.training.optimizers import SGD, AdamW


def test_only_kernels_decay() -> None:
    network = build_network("segnet", 2, 1, 2, width=0.125, stages=2, norm="batch")
    decayed, kept = SGD(learning_rate=0.5, momentum=0.8, weight_decay=0.01).build(network).param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.01, 0.0)
    assert {p.ndim for p in decayed["params"]} == {4}
    assert {p.ndim for p in kept["params"]} == {1}
    assert len(decayed["params"]) + len(kept["params"]) == len(list(network.parameters()))
    assert (decayed["lr"], decayed["momentum"], decayed["nesterov"]) == (0.5, 0.8, True)


def test_sgd_without_momentum_has_no_nesterov() -> None:
    assert SGD(momentum=0).build(torch.nn.Conv2d(1, 1, 1)).param_groups[0]["nesterov"] is False


def test_adamw() -> None:
    optimizer = AdamW(learning_rate=2e-3, betas=(0.8, 0.9), weight_decay=0.05).build(torch.nn.Conv2d(1, 1, 1))
    group = optimizer.param_groups[0]
    assert isinstance(optimizer, torch.optim.AdamW)
    assert (group["lr"], group["betas"], group["weight_decay"]) == (2e-3, (0.8, 0.9), 0.05)


@pytest.mark.parametrize(
    ("kind", "wrong"), [(SGD, {"momentum": 1.5}), (AdamW, {"learning_rate": 0}), (SGD, {"betas": 1})]
)
def test_settings_out_of_range_are_refused_by_name(kind: type, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind(**wrong)
