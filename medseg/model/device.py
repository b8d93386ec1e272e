"""Where a network runs."""

from __future__ import annotations

import torch

from medseg.errors import CheckpointError


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
