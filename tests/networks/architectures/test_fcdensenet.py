import copy

import pytest
import torch

from medseg.networks.architectures.fcdensenet import DenseBlock, FCDenseNet
from medseg.networks.table import count_parameters

SMALL = {"variant": 56, "pools": 2, "width": 0.34}


def tiramisu(dims=2, **options):
    torch.manual_seed(0)
    return FCDenseNet(dims, 1, 3, **(SMALL | options))


@pytest.mark.parametrize(
    ("variant", "dims", "in_channels", "num_classes", "expected"),
    [
        (56, 2, 3, 11, 1_376_795),
        (67, 2, 3, 11, 3_463_243),
        (103, 2, 3, 11, 9_322_091),
        (56, 2, 3, 21, 1_378_725),
        (67, 2, 3, 21, 3_466_133),
        (103, 2, 3, 21, 9_324_661),
        (56, 3, 3, 21, 3_667_461),
        (67, 3, 3, 21, 9_343_925),
        (103, 3, 3, 21, 26_174_101),
        (56, 2, 1, 2, 1_374_194),
        (67, 2, 1, 2, 3_459_778),
        (103, 2, 1, 2, 9_318_914),
        (56, 3, 1, 2, 3_661_202),
        (67, 3, 1, 2, 9_335_842),
        (103, 3, 1, 2, 26_166_626),
    ],
)
def test_number_of_parameters(variant, dims, in_channels, num_classes, expected):
    assert count_parameters("fcdensenet", dims, in_channels, num_classes, variant=variant) == expected


@pytest.mark.parametrize(("variant", "expected"), [(56, 1_397_963), (67, 3_502_923), (103, 9_425_163)])
def test_the_paper_s_number_counts_the_running_statistics_too(variant, expected):
    with torch.device("meta"):
        network = FCDenseNet(2, 3, 11, variant=variant)
    statistics = [b for name, b in network.named_buffers() if name.endswith(("mean", "var"))]
    assert sum(t.numel() for t in [*network.parameters(), *statistics]) == expected


def stack(block):
    """Channels of a block's input and of the input with all that is added."""
    widths = [layer[2].in_channels for layer in block.layers]
    return widths[0], widths[-1] + block.layers[-1][2].out_channels


def test_channels_of_the_103_layers():
    with torch.device("meta"):
        network = FCDenseNet(2, 3, 11)
    assert [stack(block)[1] for block in network.down] == [112, 192, 304, 464, 656]
    assert [stack(block)[1] for block in (network.bottleneck, *network.up)] == [896, 1088, 816, 576, 384, 256]
    assert network.classifier.in_channels == 256


@pytest.mark.parametrize(("variant", "expected"), [(103, [240, 192, 160, 112, 80]), (67, [80] * 5), (56, [48] * 5)])
def test_only_what_a_block_has_added_is_enlarged(variant, expected):
    entering = []
    with torch.device("meta"):
        network = FCDenseNet(2, 1, 2, variant=variant)
        for layer in network.enlarge:
            layer.register_forward_pre_hook(lambda _, inputs: entering.append(inputs[0].shape[1]))
        network(torch.zeros(1, 1, 64, 64))
    assert entering == expected  # growth times layers


@pytest.mark.parametrize("pools", [1, 3, 5])
def test_fewer_pools_drop_the_coarsest_levels(pools):
    with torch.device("meta"):
        network = FCDenseNet(2, 1, 2, pools=pools)
    layers = (4, 5, 7, 10, 12, 15)[: pools + 1]
    assert tuple(len(block.layers) for block in (*network.down, network.bottleneck)) == layers
    assert tuple(len(block.layers) for block in network.up) == layers[-2::-1]
    assert network.minimum == (2**pools + 1,) * 2


@pytest.mark.parametrize(("width", "growth", "first"), [(1.0, 12, 48), (0.5, 8, 24), (0.125, 4, 8), (2.0, 24, 96)])
def test_width_scales_growth_and_first_channels(width, growth, first):
    network = tiramisu(width=width)
    assert (network.down[0].layers[0][2].out_channels, network.first.out_channels) == (growth, first)


@pytest.mark.parametrize("dims", [2, 3])
def test_flat_levels_leave_the_last_axis_alone(dims):
    network = tiramisu(dims, flat_levels=1)
    flat = (1,) if dims == 3 else (3,)
    assert network.first.kernel_size == network.enlarge[-1].kernel_size == (*[3] * (dims - 1), *flat)
    assert network.minimum == (*[5] * (dims - 1), 3 if dims == 3 else 5)
    size = (11, 9, 4)[:dims]
    assert network(torch.randn(1, 1, *size)).shape == (1, 3, *size)


def trained(checkpoint, norm, steps=2):
    """Logits, gradients and state after some steps of training with dropout."""
    network = tiramisu(checkpoint=checkpoint, norm=norm, dropout=0.2)
    x = torch.randn(2, 1, 13, 16)
    for _ in range(steps):
        network.zero_grad()
        logits = network(x)
        logits.square().sum().backward()
        with torch.no_grad():
            for p in network.parameters():
                p.sub_(0.01 * p.grad)
    return logits, [p.grad for p in network.parameters()], network.state_dict()


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_recomputing_changes_neither_logits_nor_gradients_nor_running_statistics(norm):
    plain, recomputed = trained(False, norm), trained(True, norm)
    assert torch.equal(plain[0], recomputed[0])
    for a, b in zip(plain[1], recomputed[1], strict=True):
        assert torch.equal(a, b)
    assert plain[2].keys() == recomputed[2].keys()
    for key, value in plain[2].items():
        assert torch.equal(value, recomputed[2][key]), key


def kept_values(network, x):
    """Numbers that autograd keeps for the backward pass."""
    kept = {}

    def pack(tensor):
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = network(x)
    del logits
    return sum(kept.values())


def test_recomputing_keeps_less():
    x = torch.randn(1, 1, 32, 32)
    assert kept_values(tiramisu(checkpoint=True), x) < 0.5 * kept_values(tiramisu(), x)


def test_recomputing_is_no_matter_of_evaluation():
    network, x = tiramisu(checkpoint=True).eval(), torch.randn(1, 1, 9, 9)
    with torch.no_grad():
        expected = network(x)
    torch.testing.assert_close(network(x), expected)


def test_recomputing_can_be_compiled():
    torch.manual_seed(0)
    block = DenseBlock(4, 4, 2, (3, 3), norm="batch", dropout=0.0, checkpoint=True)
    results = []
    for twin in (block, copy.deepcopy(block)):
        run = twin if twin is block else torch.compile(twin, backend="aot_eager")
        y = run(torch.arange(2 * 4 * 36.0).sin().view(2, 4, 6, 6))
        y.square().sum().backward()
        results.append([y, *(p.grad for p in twin.parameters()), *twin.buffers()])
    for plain, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, plain)
