import torch

from medseg.networks.outputs import Auxiliary, TrainingOutput, to_size


def test_plain_scores_are_enlarged_then_cut():
    scores = torch.arange(4.0).view(1, 1, 2, 2)
    logits = to_size(scores, (8, 8), (7, 5))
    assert logits.shape == (1, 1, 7, 5)
    assert logits[0, 0, 0, 0] == 0


def test_auxiliary_scores_go_along_and_presence_stays():
    mask = torch.ones(1, 7, 5, dtype=torch.bool)
    output = TrainingOutput(
        torch.zeros(1, 2, 4, 4),
        (Auxiliary("coarse", torch.zeros(1, 2, 2, 2), 0.4, mask), Auxiliary("presence", torch.zeros(1, 2), 0.2)),
        mask,
    )
    result = to_size(output, (8, 8), (7, 5))
    assert result.logits.shape == result.auxiliary[0].logits.shape == (1, 2, 7, 5)
    assert result.auxiliary[1].logits.shape == (1, 2)
    assert [(a.name, a.weight) for a in result.auxiliary] == [("coarse", 0.4), ("presence", 0.2)]
    assert result.counted is mask
    assert result.auxiliary[0].counted is mask
