import pytest
import torch

from medseg.errors import CheckpointError
from medseg.model.device import pick_device


def test_device_is_what_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu", 1) == torch.device("cpu")
    with pytest.raises(CheckpointError, match="found none; use auto or cpu"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto", 1) == torch.device("cuda:1")
    assert pick_device("cuda") == torch.device("cuda")
