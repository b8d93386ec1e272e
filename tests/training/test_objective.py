"""Today's objective is the loss of the labelled stream, with all that a network declares it wants trained."""

import torch
from torch import Tensor, nn

from medseg.networks.outputs import Auxiliary, TrainingOutput
from medseg.training.objective import LABELLED, Supervised
from medseg.training.settings import Training
from medseg.training.trainee import Trainee


class _Square(nn.Module):
    def forward(self, logits: Tensor, label: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        value = (logits[:, 0] - label).square().mean()
        return value, {"square": value.detach()}


class _Deep(nn.Module):
    """Logits, and twice of them as an auxiliary output of weight 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor) -> TrainingOutput:
        return TrainingOutput(self.weight * image, (Auxiliary("deep", 2 * self.weight * image, 0.5),))


def test_labelled_stream_and_auxiliary_outputs_make_the_number() -> None:
    trainee = Trainee.of(_Deep(), Training(), torch.device("cpu"), spatial_dims=2)
    sample = {"image": torch.full((1, 1, 2, 2), 3.0), "label": torch.ones(1, 2, 2, dtype=torch.int64)}
    value, terms = Supervised(_Square())(trainee, {LABELLED: sample, "other": sample}, 0.0)  # type: ignore[dict-item]
    # (3 - 1) squared, and half of (6 - 1) squared
    assert value.item() == 4.0 + 0.5 * 25.0
    assert value.requires_grad
    assert {name: term.item() for name, term in terms.items()} == {"square": 4.0, "auxiliary/deep": 25.0}
