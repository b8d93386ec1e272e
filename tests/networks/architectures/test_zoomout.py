import pytest
import torch
from torch.nn import functional as F

from medseg.errors import ConfigError
from medseg.networks import build_network
from medseg.networks.architectures.zoomout import ZoomOut, cell_means
from medseg.networks.layers.upsampling import resize
from medseg.networks.table import count_parameters

SMALL = {"width": 0.125, "fc_kernel": 3, "fc_width": 16, "cell_size": 4, "dropout": 0.0}


def zoomout(dims=2, **options):
    torch.manual_seed(0)
    return build_network("zoomout", dims, 1, 3, **(SMALL | options)).eval()


def parameters(part):
    return sum(p.numel() for p in part.parameters())


@pytest.mark.parametrize(("dims", "in_channels", "encoder"), [(2, 3, 14_714_688), (3, 3, 44_135_616)])
def test_number_of_parameters(dims, in_channels, encoder):
    with torch.device("meta"):
        network = build_network("zoomout", dims, in_channels, 21, norm="none", fc_width=4096)
    fc = 512 * network.fc_kernel**dims * 4096 + 4096 + 4096 * 4096 + 4096
    assert network.features == 12_416
    assert parameters(network.mlp) == 13_786_133
    assert parameters(network) == encoder + fc + 13_786_133


def test_the_features_are_13_convolutions_and_two_regions():
    with torch.device("meta"):
        network = ZoomOut(2, 3, 21)
    assert network.fc_kernel == 7
    assert network.features == 4224 + 2 * 4096
    assert zoomout().describe(torch.randn(2, 1, 40, 33)).shape == (2, zoomout().features, 10, 9)


@pytest.mark.parametrize(
    ("size", "stride", "cell"),
    [
        ((40, 33), (1, 1), (8, 8)),
        ((40, 33), (2, 2), (3, 5)),
        ((40, 33), (32, 32), (4, 4)),
        ((1, 7), (8, 8), (16, 2)),
        ((20, 9, 5), (4, 4, 1), (4, 4, 2)),
        ((20, 9, 5), (16, 16, 8), (1, 2, 3)),
    ],
)
def test_a_cell_has_the_mean_of_its_voxels_on_the_enlarged_map(size, stride, cell):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *[-(-n // s) for n, s in zip(size, stride, strict=True)])
    enlarged = resize(x, [n * s for n, s in zip(x.shape[2:], stride, strict=True)])
    found = cell_means(x, stride, cell, size)
    assert found.shape[2:] == tuple(-(-n // c) for n, c in zip(size, cell, strict=True))
    for place in torch.cartesian_prod(*(torch.arange(n) for n in found.shape[2:])).tolist():
        voxels = [slice(i * c, min((i + 1) * c, n)) for i, c, n in zip(place, cell, size, strict=True)]
        expected = enlarged[(..., *voxels)].flatten(2).mean(dim=2)
        torch.testing.assert_close(found[(..., *place)], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_constant_map_pools_to_the_constant(dims):
    found = cell_means(torch.full((1, 1, *[3] * dims), 7.0), [8] * dims, [5] * dims, [19] * dims)
    torch.testing.assert_close(found, torch.full((1, 1, *[4] * dims), 7.0))


def test_a_cell_of_one_pixel_has_the_bilinear_sample():
    x = torch.randn(1, 3, 5, 4)
    torch.testing.assert_close(cell_means(x, (4, 4), (1, 1), (18, 16)), resize(x, (20, 16))[:, :, :18])


def test_cells_that_change_places_take_their_features_along():
    x = torch.randn(1, 3, 24, 16)
    order = torch.tensor([2, 0, 1])
    permuted = x.unflatten(2, (3, 8))[:, :, order].flatten(2, 3)
    expected = cell_means(x, (1, 1), (8, 8), (24, 16))[:, :, order]
    torch.testing.assert_close(cell_means(permuted, (1, 1), (8, 8), (24, 16)), expected)


def test_the_scene_is_the_same_for_every_cell_and_the_surroundings_are_not():
    network = zoomout(norm="none")
    features = network.describe(torch.randn(1, 1, 90, 70))
    sub_scene, scene = features[:, -32:-16].flatten(2), features[:, -16:].flatten(2)
    assert torch.equal(scene, scene[..., :1].expand_as(scene))
    assert sub_scene.std(dim=2).max() > 0


def test_a_map_of_fc6_s_size_has_its_scene_in_the_middle():
    network = zoomout(norm="none")
    _, last = network.encoder.rectified(torch.randn(1, 1, 96, 96))
    around = network.fc7(network.fc6(F.pad(last, [1, 1, 1, 1])))
    scene = network.fc7(network.fc6(F.interpolate(last, [3, 3], mode="area")))
    torch.testing.assert_close(around[..., 1:2, 1:2], scene)


def test_features_are_standardised_over_the_cells():
    network = zoomout(dropout=0.0).train()
    cells = network.describe(torch.randn(4, 1, 32, 32))[:, :-16].transpose(0, 1).flatten(1)
    alive = cells.std(dim=1) > 0.5  # a dead ReLU stays 0
    assert alive.float().mean() > 0.5
    torch.testing.assert_close(cells.mean(dim=1), torch.zeros(len(cells)), rtol=0, atol=1e-4)
    assert (cells[alive].std(dim=1) - 1).abs().max() < 0.1


def test_scores_of_cells_are_enlarged_about_their_centres():
    network, x = zoomout(norm="none"), torch.randn(1, 1, 22, 17)
    scores = network.mlp(network.describe(x))
    assert scores.shape[2:] == (6, 5)
    torch.testing.assert_close(network(x), resize(scores, (24, 20))[..., :22, :17])


def test_a_frozen_encoder_is_not_trained_and_its_norms_stand_still():
    network = zoomout(freeze_encoder=True).train()
    before = {k: v.clone() for k, v in network.state_dict().items() if k.startswith(("encoder", "fc"))}
    network(torch.randn(2, 1, 32, 32)).sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.requires_grad is not key.startswith(("encoder", "fc")), key
    assert all(torch.equal(network.state_dict()[k], v) for k, v in before.items())
    assert network.standardise[0].training
    assert not network.encoder.features[1].training


def test_the_frozen_paper_s_network_trains_its_classifier_alone():
    options = {"freeze_encoder": True, "norm": "none"}
    assert count_parameters("zoomout", 2, 3, 21, **options) == 13_786_133


@pytest.mark.parametrize(
    ("dims", "options", "expected"),
    [
        (2, {"cell_size": None}, (8, 8)),
        (3, {"cell_size": None}, (4, 4, 4)),
        (3, {"cell_size": None, "flat_levels": 1}, (4, 4, 2)),
        (3, {"cell_size": (6, 6, 2)}, (6, 6, 2)),
        (3, {}, (4, 4, 4)),
    ],
)
def test_cells_follow_the_voxels_unless_given(dims, options, expected):
    assert zoomout(dims, **options).cell_size == expected


def test_a_cell_needs_a_size_for_every_axis():
    with pytest.raises(ConfigError, match=r"network.cell_size: expected 1 or 3 numbers, found \[4, 4\]"):
        zoomout(3, cell_size=(4, 4))


def test_a_patch_below_fc6_is_named():
    (warning,) = zoomout(fc_kernel=7).patch_warnings((128, 128))
    assert warning.startswith("network.fc_kernel: ")
    assert zoomout(fc_kernel=3).patch_warnings((96, 96)) == []
