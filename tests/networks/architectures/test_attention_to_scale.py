import pytest
import torch

from medseg.errors import ConfigError
from medseg.networks import build_network
from medseg.networks.layers.upsampling import resize
from medseg.networks.outputs import TrainingOutput
from medseg.networks.table import count_parameters

SMALL = {"width": 0.125, "fc_width": 16, "atrous_rate": 1, "dropout": 0.0}
SIZES = {2: (40, 33), 3: (20, 18, 17)}


def network_of(dims=2, **options):
    torch.manual_seed(0)
    network = build_network("attention_to_scale", dims, 1, 3, **(SMALL | options))
    torch.nn.init.normal_(network.attention[-1].weight)  # weights that differ
    return network.eval()


def image(dims=2):
    return torch.randn(2, 1, *SIZES[dims])


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "scales", "expected"),
    [
        (2, 3, 21, (1.0, 0.5), 29_944_151),
        (2, 3, 21, (1.0, 0.75, 0.5), 34_663_256),
        (3, 3, 21, (1.0, 0.5), 87_676_631),
        (3, 3, 21, (1.0, 0.75, 0.5), 101_832_920),
        (2, 1, 2, (1.0, 0.5), 29_923_524),
        (2, 1, 2, (1.0, 0.75, 0.5), 34_642_629),
        (3, 1, 2, (1.0, 0.5), 87_653_700),
        (3, 1, 2, (1.0, 0.75, 0.5), 101_809_989),
    ],
)
def test_number_of_parameters(dims, in_channels, num_classes, scales, expected):
    assert count_parameters("attention_to_scale", dims, in_channels, num_classes, scales=scales) == expected


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("scales", [(1.0, 0.5), (1.0, 0.75, 0.5)])
def test_the_scales_of_a_voxel_weigh_1_together(dims, scales):
    network = network_of(dims, scales=scales)
    features = [network.head.features(network.encoder(network.at_scale(image(dims), s))[-1]) for s in scales]
    weights = network.weights(features)
    assert weights.shape == (2, len(scales), *features[0].shape[2:])
    torch.testing.assert_close(weights.sum(dim=1), torch.ones_like(weights[:, 0]))
    assert weights.flatten(2).std(dim=2).min() > 0


@pytest.mark.parametrize("dims", [2, 3])
def test_without_attention_the_scales_are_averaged(dims):
    network, x = network_of(dims, scales=(1.0, 0.75, 0.5)), image(dims)
    torch.nn.init.zeros_(network.attention[-1].weight)
    scores = [network.head(network.encoder(network.at_scale(x, s))[-1]) for s in network.scales]
    mean = torch.stack([resize(y, scores[0].shape[2:]) for y in scores]).mean(dim=0)
    torch.testing.assert_close(network(x), resize(mean, x.shape[2:]))


@pytest.mark.parametrize("dims", [2, 3])
def test_equal_inputs_at_all_scales_give_the_scores_of_one(dims):
    network, x = network_of(dims), image(dims)
    network.scales = (1.0, 1.0)
    single = build_network("deeplabv1", dims, 1, 3, **SMALL).eval()
    single.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("attention")})
    torch.testing.assert_close(network(x), single(x))


def test_each_scale_is_trained_too_with_weight_1():
    network, x = network_of(scales=(1.0, 0.75, 0.5)), image()
    single = build_network("deeplabv1", 2, 1, 3, **SMALL)
    single.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("attention")})
    output = network.train()(x)
    assert isinstance(output, TrainingOutput)
    assert [(a.name, a.weight) for a in output.auxiliary] == [("scale_1", 1), ("scale_0.75", 1), ("scale_0.5", 1)]
    torch.testing.assert_close(output.auxiliary[0].logits, single(x))
    small = resize(x, (20, 17))
    expected = resize(single.score(single.encoder(small)), x.shape[2:])
    torch.testing.assert_close(output.auxiliary[2].logits, expected)
    torch.testing.assert_close(output.logits, network.eval()(x))


def test_the_fused_scores_lie_between_those_of_the_scales():
    network, x = network_of(), image()
    scores = [network.head(network.encoder(network.at_scale(x, s))[-1]) for s in network.scales]
    scores = torch.stack([resize(y, scores[0].shape[2:]) for y in scores])
    fused = network.fuse(list(scores), torch.rand(2, 2, *scores.shape[3:]).softmax(dim=1))
    assert (fused >= scores.amin(dim=0) - 1e-6).all()
    assert (fused <= scores.amax(dim=0) + 1e-6).all()


@pytest.mark.parametrize("scales", [(0.5, 1.0), (1.0, 1.0)])
def test_scales_that_do_not_shrink_are_refused(scales):
    with pytest.raises(ConfigError, match=r"network.scales: expected different scales from large to small, found \["):
        network_of(scales=scales)


def test_a_single_scale_is_refused():
    with pytest.raises(ConfigError, match=r"network.scales: .*at least 2"):
        network_of(scales=(1.0,))


def test_the_rate_is_held_against_the_smallest_map():
    network = network_of(3, atrous_rate=8)
    (warning,) = network.patch_warnings((96, 96, 96))
    assert "which has 6 x 6 x 6 cells" in warning
    assert network.patch_warnings((160, 160, 160)) == []
