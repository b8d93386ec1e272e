import pytest
import torch

from medseg.networks import build_network
from medseg.networks.table import count_parameters

SMALL = {"encoder": "resnet18", "width": 0.125}


def rgnet(dims=2, **options):
    torch.manual_seed(0)
    return build_network("rgnet", dims, 1, 3, **(SMALL | {"dropout": 0.0} | options))


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "expected"),
    [
        (2, 3, 21, 52_557_415),
        (3, 3, 21, 114_467_056),
        # one channel leaves out two slices of the stem, two classes 19 rows of the classifier
        (2, 1, 2, 52_557_415 - 2 * 64 * 7**2 - 19 * 513),
        (3, 1, 2, 114_467_056 - 2 * 64 * 7**3 - 19 * 513),
    ],
)
def test_number_of_parameters(dims, in_channels, num_classes, expected):
    assert count_parameters("rgnet", dims, in_channels, num_classes, encoder="resnet101") == expected


def test_27_samples_in_3d_add_their_offsets():
    more = count_parameters("rgnet", 3, samples=27) - count_parameters("rgnet", 3, samples=9)
    assert more == 18 * 3 * (512 * 27 + 1)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_fresh_network_scores_the_reduced_map(dims):
    network, x = rgnet(dims).eval(), torch.randn(1, 1, *(20,) * dims)
    expected = network(x)
    network.graph = torch.nn.Identity()
    assert torch.equal(network(x), expected)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_auxiliary_head_is_an_option_and_learns(dims):
    x = torch.randn(2, 1, *(20,) * dims)
    assert isinstance(rgnet(dims).train()(x), torch.Tensor)
    network = rgnet(dims, auxiliary=True)
    output = network.train()(x)
    (stage3,) = output.auxiliary
    assert (stage3.name, stage3.weight, stage3.logits.shape) == ("stage3", 0.4, output.logits.shape)
    stage3.logits.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in network.auxiliary.parameters())
    assert isinstance(network.eval()(x), torch.Tensor)
