import logging
import time

import pytest
import torch
from torch import nn

from medseg.errors import CheckpointError
from medseg.inference import backends
from medseg.inference.backends import run_with
from medseg.networks import build_network

UNET = {"channels": [2, 4], "strides": [2], "num_res_units": 0, "norm": "instance"}


@pytest.mark.parametrize(("dims", "window"), [(2, (16, 12)), (3, (16, 12, 8))])
def test_openvino_gives_torchs_logits(dims, window):
    network = build_network("unet", dims, 1, 3, **UNET).eval()
    faster = run_with("openvino", network, 1, window)
    assert faster is not network
    batch = torch.rand(3, 1, *window)
    with torch.inference_mode():
        assert torch.allclose(faster(batch), network(batch), atol=1e-4)
        other = torch.rand(1, 1, *(n + 2 for n in window))
        assert torch.equal(faster(other), network(other))  # another size is left to torch


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_openvino_is_exact_where_most_of_a_window_is_air(norm):
    network = build_network("unet", 3, 1, 3, channels=[4, 8], strides=[2], num_res_units=0, norm=norm).eval()
    window = torch.rand(1, 1, 64, 64, 48)
    window[..., 12:] = 0
    faster = run_with("openvino", network, 1, (64, 64, 48))
    with torch.inference_mode():
        expected = network.double()(window.double())
        network.float()
        assert float((faster(window) - expected).abs().max() / expected.abs().max()) < 1e-5


def test_runtime_that_answers_otherwise_is_not_used(caplog, monkeypatch):
    network = nn.Conv2d(1, 2, 1).eval()
    monkeypatch.setattr(backends, "_OpenVINO", lambda *args: lambda batch: network(batch) * 1.01)
    with caplog.at_level(logging.WARNING):
        assert run_with("openvino", network, 1, (4, 4)) is network
    assert "differ from torch's by 1.0e-02" in caplog.text


@pytest.mark.parametrize(("openvino_s", "faster"), [(0.0, "openvino"), (0.05, "torch")])
def test_auto_takes_the_faster_one(openvino_s, faster, monkeypatch):
    network = nn.Conv2d(1, 2, 1).eval()

    def other(batch):
        time.sleep(openvino_s)
        return nn.functional.conv2d(batch, network.weight, network.bias)

    slow = network.register_forward_hook(lambda *args: time.sleep(0.01))
    monkeypatch.setattr(backends, "_OpenVINO", lambda *args: other)
    assert run_with("auto", network, 1, (4, 4)) is {"openvino": other, "torch": network}[faster]
    slow.remove()


def test_auto_is_torch_where_nothing_else_is_installed_or_equal(monkeypatch):
    network = nn.Conv2d(1, 2, 1).eval()
    monkeypatch.setattr(backends, "_OpenVINO", lambda *args: lambda batch: network(batch) * 1.01)
    assert run_with("auto", network, 1, (4, 4)) is network
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    monkeypatch.setattr(backends, "_OpenVINO", None)
    assert run_with("auto", network, 1, (4, 4)) is network


class Unknown(nn.Module):
    """An operation that OpenVINO does not know."""

    def forward(self, x):
        return torch.linalg.eigvals(x).real


def test_network_that_openvino_cannot_run_is_refused_and_auto_is_torch(caplog):
    network = Unknown().eval()
    with pytest.raises(CheckpointError, match=r"backend openvino: it cannot run this network \(.*linalg_eigvals"):
        run_with("openvino", network, 1, (4, 4))
    with caplog.at_level(logging.WARNING):
        assert run_with("auto", network, 1, (4, 4)) is network
    assert "linalg_eigvals); running with torch" in caplog.text


def test_unknown_runtime_is_refused():
    with pytest.raises(CheckpointError, match="expected one of torch, openvino, auto, found 'tensorrt'"):
        run_with("tensorrt", nn.Identity(), 1, (4, 4))
