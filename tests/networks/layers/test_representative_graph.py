import pytest
import torch

from medseg.errors import ConfigError
from medseg.networks.layers.representative_graph import RepresentativeGraph, regular_grid

NORMS = ["batch", "instance", "group", "none"]
SIZES = {2: (5, 7), 3: (4, 3, 6)}


def graph(dims=2, samples=9, norm="batch", **options):
    torch.manual_seed(0)
    return RepresentativeGraph(dims, 12, 6, samples=samples, norm=norm, **options)


def image(dims, batch=1):
    return torch.randn(batch, 12, *SIZES[dims], generator=torch.Generator().manual_seed(1))


def everywhere(size, steps):
    """(S, dims) steps, the same for each voxel."""
    dims = len(size)
    return torch.tensor(steps, dtype=torch.float32).view(1, len(steps), dims, *(1,) * dims).expand(1, -1, -1, *size)


@pytest.mark.parametrize(("dims", "expected"), [(2, 608_274), (3, 898_587)])
def test_number_of_parameters(dims, expected):
    with torch.device("meta"):
        layer = RepresentativeGraph(dims, 512, 256, norm="batch")
    assert sum(p.numel() for p in layer.parameters()) == expected


def test_grids_are_full_or_corners_and_centre():
    assert regular_grid(1, 2) == [(0.0, 0.0)]
    assert regular_grid(9, 2) == [(i, j) for i in (-1.0, 0.0, 1.0) for j in (-1.0, 0.0, 1.0)]
    assert len(set(regular_grid(27, 3))) == 27
    assert len(set(regular_grid(125, 3))) == 125
    assert set(regular_grid(9, 3)) == {(0, 0, 0), *((i, j, k) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1))}
    for samples, dims in ((9, 2), (5, 2), (25, 2), (9, 3), (27, 3)):
        assert torch.tensor(regular_grid(samples, dims)).sum() == 0


@pytest.mark.parametrize(("dims", "text"), [(2, "1, 5, 9, 25"), (3, "1, 9, 27, 125")])
def test_other_numbers_of_samples_are_refused(dims, text):
    with pytest.raises(ConfigError, match=rf"network.samples: expected {text}.*found 7"):
        graph(dims, samples=7)


@pytest.mark.parametrize(("dims", "samples"), [(2, 9), (3, 9), (3, 27)])
def test_a_fresh_layer_looks_at_the_regular_grid_around_each_voxel(dims, samples):
    expected = everywhere(SIZES[dims], regular_grid(samples, dims))
    torch.testing.assert_close(graph(dims, samples).offsets(image(dims)), expected)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("norm", NORMS)
def test_a_fresh_layer_is_the_identity(dims, norm):
    x = image(dims, batch=2)
    assert torch.equal(graph(dims, norm=norm).train()(x), x)
    assert not torch.equal(graph(dims, norm=norm, zero_init_residual=False).train()(x), x)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("norm", NORMS)
def test_after_one_step_everything_learns(dims, norm):
    layer, x = graph(dims, norm=norm), image(dims, batch=2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        (layer(x) - 1).square().sum().backward()
        optimizer.step()
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters() if p.ndim > 1)


@pytest.mark.parametrize("dims", [2, 3])
def test_one_sample_at_the_voxel_itself_has_weight_1(dims):
    layer, x = graph(dims, samples=1, zero_init_residual=False).eval(), image(dims)
    torch.testing.assert_close(layer(x), x + layer.project(layer.value(x)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("step", [1, -2])
def test_a_step_of_whole_cells_shifts_the_map_along_its_axis(dims, step):
    layer, x = graph(dims, samples=1), image(dims)
    for axis, n in enumerate(SIZES[dims]):
        steps = [tuple(float(step) if a == axis else 0.0 for a in range(dims))]
        shifted = layer.value(x).index_select(2 + axis, (torch.arange(n) + step).clamp(0, n - 1))
        torch.testing.assert_close(layer.attend(x, everywhere(SIZES[dims], steps)), shifted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_half_a_step_is_the_mean_of_two_cells(dims):
    layer, x = graph(dims, samples=1), image(dims)
    value = layer.value(x)
    found = layer.attend(x, everywhere(SIZES[dims], [(0.0,) * (dims - 1) + (0.5,)]))
    torch.testing.assert_close(found[..., :-1], (value[..., :-1] + value[..., 1:]) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dims", "samples"), [(2, 9), (3, 27)])
def test_samples_at_every_cell_make_it_dense_attention(dims, samples):
    layer, size = graph(dims, samples), (3,) * dims
    x = torch.randn(1, 12, *size)
    cells = torch.stack(torch.meshgrid(*(torch.arange(3.0),) * dims, indexing="ij"))
    targets = cells.flatten(1).T.view(1, samples, dims, *(1,) * dims)
    query, key, value = (f(x).flatten(2) for f in (layer.query, layer.key, layer.value))
    dense = value @ (query.transpose(1, 2) @ key / 6**0.5).softmax(dim=2).transpose(1, 2)
    torch.testing.assert_close(layer.attend(x, targets - cells).flatten(2), dense, rtol=1e-4, atol=1e-5)


def test_the_offsets_learn_at_a_tenth_of_the_gradient():
    layer, x = graph(zero_init_residual=False), image(2)
    steps = layer.offsets(x).detach().requires_grad_()
    layer.attend(x, steps).square().sum().backward()
    layer.attend(x, layer.offsets(x)).square().sum().backward()
    torch.testing.assert_close(layer.offset.bias.grad, 0.1 * steps.grad.sum(dim=(0, 3, 4)).flatten())


@pytest.mark.parametrize("dims", [2, 3])
def test_bfloat16_samples_where_float32_does(dims):
    layer, x = graph(dims, zero_init_residual=False).eval(), image(dims)
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x).float(), expected, rtol=0.1, atol=0.1)
    half = layer.bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.1, atol=0.1)


def test_a_map_of_one_cell_along_an_axis_stays_finite():
    layer = graph(3, zero_init_residual=False).train()
    y = layer(torch.randn(1, 12, 1, 1, 5))
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters())
