"""Every network learns one image by heart: a liver with a tumour in it."""

import pytest
import torch

from medseg.losses.terms import CrossEntropy, Dice
from medseg.losses.weighted_sum import build_loss
from medseg.model.classes import Classes
from medseg.networks import NETWORKS, build_network, network_options
from medseg.training.auxiliary import training_loss

LEARNING_RATES = {
    "refinenet": 1e-3,  # its decoder has no norm
    "deconvnet": 1e-2,  # finds the tumour long after the liver
}
"""Where 4e-3 does not suit."""

STEPS = 250
"""Twice what the slowest network needs."""


def patches(*size):
    """An image and its mirror image (2, 1, I, J[, K]), and labels (2, I, J[, K]): liver 1, tumour 2."""
    places = torch.stack(torch.meshgrid(*(torch.arange(n) / n for n in size), indexing="ij"), dim=-1)
    label = torch.zeros(size, dtype=torch.long)
    label[(places - 0.5).norm(dim=-1) <= 0.45] = 1
    label[(places - torch.tensor([0.58, 0.42, 0.42][: len(size)])).norm(dim=-1) <= 0.28] = 2
    noise = torch.randn(size, generator=torch.Generator().manual_seed(0))
    image = torch.tensor([0.0, 0.6, 0.4])[label] + 0.05 * noise
    return torch.stack([image, image.flip(0)]).unsqueeze(1), torch.stack([label, label.flip(0)])


def tumour_dice(network, image, label):
    with torch.no_grad():
        found = network.eval()(image).argmax(dim=1) == 2
    network.train()
    return (2 * (found & (label == 2)).sum() / (found.sum() + (label == 2).sum())).item()


def assert_learned(name, image, label, **options):
    """The tumour's Dice in eval mode rises above 0.9."""
    torch.manual_seed(0)
    network = build_network(name, image.ndim - 2, 1, 3, **{**NETWORKS[name].small, **options}).train()
    loss = build_loss([Dice(), CrossEntropy()], Classes(("a", "b")))
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATES.get(name, 4e-3))
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        total, _ = training_loss(loss, network(image), label)
        total.backward()
        optimizer.step()
        if step % 5 == 0 and tumour_dice(network, image, label) > 0.9:
            return
    pytest.fail(f"{name}: tumour Dice {tumour_dice(network, image, label):.2f} after {STEPS} steps")


@pytest.mark.parametrize("name", [name for name, info in NETWORKS.items() if 2 in info.dims])
def test_a_slice_is_learned_by_heart(name):
    assert_learned(name, *patches(48, 48), norm="batch")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, info in NETWORKS.items() if 3 in info.dims])
def test_a_volume_is_learned_by_heart(name):
    image, label = patches(24, 24, 24)
    stride = network_options(name).get("output_stride")
    # at a stride of 8 such a patch has three cells along an axis
    finer = {"output_stride": 4} if stride is not None and stride.default == 8 else {}
    assert_learned(name, image[:1], label[:1], norm="group", **finer)
