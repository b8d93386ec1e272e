import pytest
import torch

from medseg.errors import ConfigError
from medseg.networks import build_network
from medseg.networks.architectures.segresnet import SegResNet
from medseg.networks.table import count_parameters


@pytest.mark.parametrize(
    ("dims", "channels", "options", "expected"),
    [
        (2, (1, 2), {"init_filters": 8}, 394_986),
        (3, (1, 2), {"init_filters": 8}, 1_176_186),
        (2, (1, 2), {"init_filters": 16}, 1_576_402),
        (3, (1, 2), {"init_filters": 16}, 4_700_914),
        (2, (1, 2), {}, 6_298_530),
        (3, (1, 2), {}, 18_796_002),
        (3, (4, 3), {"init_filters": 16}, 4_702_227),
        (2, (1, 2), {"variant": "ds"}, 6_642_530),
        (3, (1, 2), {"variant": "ds"}, 19_914_146),
        (2, (1, 2), {"variant": "ds", "blocks_down": (1, 2, 2, 4, 4)}, 29_065_058),
        (3, (1, 2), {"variant": "ds", "blocks_down": (1, 2, 2, 4, 4)}, 87_163_298),
    ],
)
def test_number_of_parameters(dims, channels, options, expected):
    assert count_parameters("segresnet", dims, *channels, **options) == expected


@pytest.mark.parametrize("variant", ["plain", "ds"])
def test_a_size_that_fits_is_monai_s_own_answer(variant):
    torch.manual_seed(0)
    network = SegResNet(2, 1, 3, variant=variant, init_filters=8).eval()
    x = torch.randn(1, 1, 16, 24)
    assert torch.equal(network(x), network.network(x))


def test_supervised_levels_are_scored_in_training_only():
    network = SegResNet(2, 1, 3, variant="ds", init_filters=8, supervised_levels=3)
    output = network(torch.randn(1, 1, 20, 32))
    assert [(a.name, a.weight, tuple(a.logits.shape)) for a in output.auxiliary] == [
        ("level1", 0.5, (1, 3, 20, 32)),
        ("level2", 0.25, (1, 3, 20, 32)),
    ]
    runs = []
    for level in network.network.up_layers:
        level["head"].register_forward_hook(lambda *_: runs.append(1))
    assert isinstance(network.eval()(torch.randn(1, 1, 20, 32)), torch.Tensor)
    assert len(runs) == 1


@pytest.mark.parametrize("variant", ["plain", "ds"])
def test_dropout_adds_no_weights(variant):
    plain, dropping = (SegResNet(2, 1, 3, variant=variant, init_filters=8, dropout=p).train() for p in (0.0, 0.5))
    dropping.load_state_dict(plain.state_dict())
    x = torch.randn(1, 1, 16, 16)
    assert not torch.equal(dropping(x), plain(x))
    assert torch.equal(dropping.eval()(x), plain.eval()(x))


@pytest.mark.parametrize(("variant", "most"), [("plain", 1), ("ds", 3)])
def test_more_levels_than_there_are_cannot_be_supervised(variant, most):
    with pytest.raises(ConfigError, match=f"network.supervised_levels: expected at most {most}"):
        SegResNet(2, 1, 3, variant=variant, supervised_levels=4)


def test_filters_that_the_groups_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match=r"network.init_filters: .*multiple of 8, found 12"):
        build_network("segresnet", 2, 1, 2, init_filters=12)
