"""What every row of NETWORKS promises; nothing here knows the rows."""

import pytest
import torch

from medseg.networks import NETWORKS, build_network, network_options

CASES = [pytest.param(name, dims, id=f"{name}-{dims}d") for name, info in NETWORKS.items() for dims in info.dims]
SIZES = {2: [(40, 40), (37, 23), (3, 50), (1, 1)], 3: [(20, 20, 20), (19, 7, 5), (2, 3, 33), (1, 1, 1)]}
NORMS = ["batch", "instance", "group", "none"]


def small(name, dims, in_channels=1, num_classes=3, **options):
    torch.manual_seed(0)
    return build_network(name, dims, in_channels, num_classes, **(dict(NETWORKS[name].small) | options))


def image(dims, size, batch=1, channels=1):
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "dims"), CASES)
@pytest.mark.parametrize("norm", NORMS)
def test_any_size_comes_back_at_batch_1_with_every_norm(name, dims, norm):
    network = small(name, dims, in_channels=2, norm=norm)
    for size in SIZES[dims]:
        for mode in (True, False):
            logits = network.train(mode)(image(dims, size, channels=2))
            assert logits.shape == (1, 3, *size)
            assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_gradient_reaches_every_parameter(name, dims):
    network = small(name, dims, dropout=0.0)
    network(image(dims, SIZES[dims][0], batch=2)).square().sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        # a bias in front of a norm is subtracted again, so its gradient is rounding error
        assert parameter.ndim == 1 or parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_logits_take_both_signs_and_differ_over_space(name, dims):
    logits = small(name, dims).eval()(image(dims, SIZES[dims][0]))
    assert logits.min() < 0 < logits.max()
    assert (logits.flatten(2).std(dim=2) > 0).all()


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_state_dict_round_trip_gives_the_same_logits(name, dims):
    network, twin = small(name, dims), small(name, dims)
    x = image(dims, SIZES[dims][1], batch=2)
    network(x)  # moves running statistics
    twin.load_state_dict(network.state_dict())
    torch.testing.assert_close(twin.eval()(x), network.eval()(x), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_eval_treats_each_image_of_a_batch_by_itself(name, dims):
    network = small(name, dims).eval()
    x = image(dims, SIZES[dims][1], batch=2)
    torch.testing.assert_close(network(x)[1:], network(x[1:]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_an_input_is_not_changed(name, dims):
    x = image(dims, SIZES[dims][1])
    before = x.clone()
    small(name, dims)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_a_training_step_runs_deterministically_and_in_bfloat16(name, dims):
    network = small(name, dims)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(image(dims, SIZES[dims][1]))
        logits.float().square().sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_channels_last_gives_the_same_logits(name, dims):
    network = small(name, dims).eval()
    x = image(dims, SIZES[dims][1], channels=1)
    layout = torch.channels_last if dims == 2 else torch.channels_last_3d
    expected = network(x)
    torch.testing.assert_close(network.to(memory_format=layout)(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_option_has_a_default_and_an_annotation(name):
    options = network_options(name)
    assert {"norm", "dropout"} <= set(options)
    for option in options.values():
        assert option.default is not option.empty
        assert option.annotation is not option.empty


@pytest.mark.parametrize("name", NETWORKS)
def test_the_table_lists_the_encoders_that_the_option_takes(name):
    option = network_options(name).get("encoder")
    assert option is None or NETWORKS[name].encoders == option.annotation.__args__
