from itertools import pairwise

import pytest
import torch
from torch import nn

from medseg.networks.architectures.frrn import FRRN, FullResolutionResidualUnit, ResidualUnit
from medseg.networks.table import count_parameters


def frrn(dims=2, **options):
    torch.manual_seed(0)
    return FRRN(dims, 1, 2, **({"width": 0.125} | options))


def coupled(network):
    return [unit for unit in network.modules() if isinstance(unit, FullResolutionResidualUnit)]


def streams(network, x):
    """(y, z) into and out of each coupled unit of one forward pass, and the logits."""
    seen = []
    for unit in coupled(network):
        unit.register_forward_hook(lambda _, given, found: seen.append((given, found)))
    return seen, network(x)


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "variant", "expected"),
    [
        (2, 3, 19, "A", 17_746_803),
        (2, 3, 19, "B", 24_755_699),
        (2, 3, 21, "A", 17_746_901),
        (2, 3, 21, "B", 24_755_797),
        (2, 1, 2, "A", 17_743_570),
        (2, 1, 2, "B", 24_752_466),
        (3, 3, 21, "A", 52_971_029),
        (3, 3, 21, "B", 73_914_517),
        (3, 1, 2, "A", 52_958_098),
        (3, 1, 2, "B", 73_901_586),
    ],
)
@pytest.mark.parametrize("stream_stride", [1, 2])
def test_number_of_parameters(dims, in_channels, num_classes, variant, expected, stream_stride):
    options = {"variant": variant, "stream_stride": stream_stride}
    assert count_parameters("frrn", dims, in_channels, num_classes, **options) == expected


@pytest.mark.parametrize(
    ("variant", "scales", "channels"),
    [
        ("A", [2] * 3 + [4] * 4 + [8] * 2 + [16] * 2 + [8] * 2 + [4] * 2 + [2] * 2, [96, 192, 384, 384, 192, 192, 96]),
        (
            "B",
            [2] * 3 + [4] * 4 + [8] * 2 + [16] * 2 + [32] * 2 + [16] * 2 + [8] * 2 + [4] * 2 + [2] * 2,
            [96, 192, 384, 384, 384, 192, 192, 192, 96],
        ),
    ],
)
def test_units_have_the_paper_s_scales_and_channels(variant, scales, channels):
    with torch.device("meta"):
        network = FRRN(2, 3, 19, variant=variant)
    assert [unit.scale for unit in coupled(network)] == [(s, s) for s in scales]
    assert [stage[-1].residual.in_channels for stage in network.stages] == channels
    assert {unit.residual.out_channels for unit in coupled(network)} == {32}


@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("size", [(64, 48), (37, 23), (20, 33, 7)])
def test_the_residual_stream_keeps_its_size_and_every_unit_is_fed_by_the_one_before(variant, size):
    network = frrn(len(size), variant=variant, stream_stride=1, norm="group")
    seen, _ = streams(network, torch.randn(1, 1, *size))
    assert {tuple(z.shape) for given, found in seen for z in (given[1], found[1])} == {(1, 8, *size)}
    counts = [len(stage) for stage in network.stages]
    opens = {sum(counts[:n]) for n in range(len(counts))}  # units behind a max-pool or an upsampling
    for number, ((_, (before_y, before_z)), ((y, z), _)) in enumerate(pairwise(seen), start=1):
        assert z is before_z
        assert (y is before_y) != (number in opens)


def test_a_stage_starts_from_the_pooled_or_enlarged_stream_of_the_one_before():
    network = frrn().eval()
    seen, _ = streams(network, torch.randn(1, 1, 64, 48))
    firsts = [sum(len(stage) for stage in network.stages[:n]) for n in range(1, 7)]
    for number in firsts[:3]:
        assert torch.equal(seen[number][0][0], nn.functional.max_pool2d(seen[number - 1][1][0], 2))
    for number in firsts[3:]:
        expected = nn.functional.interpolate(seen[number - 1][1][0], scale_factor=2, mode="bilinear")
        torch.testing.assert_close(seen[number][0][0], expected)


def test_a_unit_with_a_zeroed_1x1_leaves_the_residual_stream_as_it_is():
    network = frrn(norm="batch")
    for unit in coupled(network):
        nn.init.zeros_(unit.residual.weight)
        nn.init.zeros_(unit.residual.bias)
    seen, _ = streams(network, torch.randn(1, 1, 40, 24))
    assert all(torch.equal(found[1], seen[0][0][1]) for _, found in seen)


def test_a_unit_adds_to_the_residual_stream_the_nearest_cell_s_residual():
    unit = FullResolutionResidualUnit(8, 8, 8, (3, 3), (4, 2), norm="none")
    y, z = torch.randn(1, 8, 2, 3), torch.randn(1, 8, 7, 5)
    next_y, next_z = unit(y, z)
    residual = unit.residual(next_y).repeat_interleave(4, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(next_z - z, residual[..., :7, :5])
    read = []
    unit.convs.register_forward_hook(lambda _, given, __: read.append(given[0]))
    unit(y, z)
    assert torch.equal(read[0][:, :8], y)
    assert read[0][0, 8, 1, 2] == z[0, 0, 4:7, 4:5].max(), "the last window is cut by the border"


def test_what_goes_back_to_the_residual_stream_has_a_bias_and_no_norm():
    with torch.device("meta"):
        network = FRRN(2, 3, 19)
    assert all(isinstance(unit.residual, nn.Conv2d) and unit.residual.bias is not None for unit in coupled(network))
    others = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.bias is not None]
    assert len(others) == len(coupled(network)) + 1, "beside those only the classifier has a bias"


def test_a_residual_unit_does_not_rectify_its_sum():
    unit = ResidualUnit(8, 8, (3, 3), norm="batch")
    x = torch.randn(2, 8, 6, 6)
    nn.init.zeros_(unit.convs[2].weight)
    assert torch.equal(unit(x), x)


@pytest.mark.parametrize(("dims", "stride"), [(2, 1), (3, 2)])
def test_the_residual_stream_has_the_image_s_resolution_in_2d_and_half_of_it_in_3d(dims, stride):
    size = (40, 36) if dims == 2 else (40, 17, 4)
    seen, logits = streams(frrn(dims).eval(), torch.randn(1, 1, *size))
    assert tuple(seen[0][0][1].shape[2:]) == tuple(-(-n // stride) for n in size)
    assert logits.shape == (1, 2, *size)


def test_the_first_cells_do_not_move_where_the_size_is_no_multiple_of_the_stride():
    network = frrn(norm="none").eval()
    larger = torch.zeros(1, 1, 96, 96)
    # far from the border of a constant image nothing tells the sizes apart, unless cells were stretched
    torch.testing.assert_close(network(larger[..., :93, :91])[..., :4, :4], network(larger)[..., :4, :4])


@pytest.mark.parametrize("stream_stride", [1, 2])
def test_flat_levels_keep_the_slices_apart(stream_stride):
    network = frrn(3, norm="none", flat_levels=5, stream_stride=stream_stride).eval()
    image = torch.randn(1, 1, 33, 20, 4)
    other = image.clone()
    other[..., 2:] += 1
    seen, logits = streams(network, image)
    # five levels: A's four max-pools, or the strided convolution and three of them
    assert seen[7][0][0].shape[-1] == 4
    if stream_stride == 1:
        kernels = {
            m.kernel_size[-1] for s in (0, 1, 2) for m in network.stages[s].modules() if isinstance(m, nn.Conv3d)
        }
        assert kernels == {1}
    assert logits.shape == (1, 2, *image.shape[2:])
    torch.testing.assert_close(seen[6][1][0][..., :2], streams(network, other)[0][6][1][0][..., :2])


def test_dropout_acts_in_training_only():
    network = frrn(norm="none", dropout=0.5)
    x = torch.randn(1, 1, 20, 20)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_neither_stream_grows_out_of_range(norm):
    seen, logits = streams(frrn(variant="B", norm=norm), torch.randn(1, 1, 64, 64))
    assert all(0.1 < stream.std() < 10 for _, found in seen for stream in found)
    assert logits.std() < 1
