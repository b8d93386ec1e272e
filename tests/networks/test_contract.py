"""What every row of NETWORKS promises; nothing here knows the rows."""

import pytest
import torch

from medseg.networks import NETWORKS, build_network, check_patch, network_options

CASES = [pytest.param(name, dims, id=f"{name}-{dims}d") for name, info in NETWORKS.items() for dims in info.dims]
SIZES = {2: [(40, 40), (37, 23), (3, 50), (1, 1)], 3: [(20, 20, 20), (19, 7, 5), (2, 3, 33), (1, 1, 1)]}
NORMS = ["batch", "instance", "group", "none"]


def small(name, dims, in_channels=1, num_classes=3, **options):
    torch.manual_seed(0)
    return build_network(name, dims, in_channels, num_classes, **(dict(NETWORKS[name].small) | options))


def parts(output):
    """Logits first, then those of the auxiliary outputs."""
    return [output] if isinstance(output, torch.Tensor) else [output.logits, *(a.logits for a in output.auxiliary)]


def image(dims, size, batch=1, channels=1):
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "dims"), CASES)
@pytest.mark.parametrize("norm", NORMS)
def test_any_size_comes_back_at_batch_1_with_every_norm(name, dims, norm):
    network = small(name, dims, in_channels=2, norm=norm)
    for size in SIZES[dims]:
        for mode in (True, False):
            found = parts(network.train(mode)(image(dims, size, channels=2)))
            assert len(found) == 1 or mode, "auxiliary outputs belong to training"
            for logits in found:
                assert logits.shape in {(1, 3, *size), (1, 3)}
                assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_gradient_reaches_every_parameter(name, dims):
    network = small(name, dims, dropout=0.0)
    sum(p.square().sum() for p in parts(network(image(dims, SIZES[dims][0], batch=2)))).backward()
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
def test_eval_runs_no_layer_that_the_logits_do_not_use(name, dims):
    network = small(name, dims).eval()
    run = {}
    for key, module in network.named_modules():
        module.register_forward_hook(lambda layer, _, __, key=key: run.update({key: layer}))
    network(image(dims, SIZES[dims][1])).sum().backward()
    assert run
    for key, layer in run.items():
        assert all(p.grad is not None for p in layer.parameters(recurse=False)), key


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_three_equal_channels_are_one_whose_first_weights_are_their_sum(name, dims):
    wide, network = small(name, dims, in_channels=3).eval(), small(name, dims).eval()
    weights = network.state_dict()
    for key, value in wide.state_dict().items():
        # nothing but layers that see the image may differ
        weights[key] = value if value.shape == weights[key].shape else value.sum(dim=1, keepdim=True)
    network.load_state_dict(weights)
    x = image(dims, SIZES[dims][1])
    torch.testing.assert_close(network(x), wide(x.expand(-1, 3, *x.shape[2:])), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_classes_change_nothing_but_layers_that_score(name, dims):
    two, five = ({key: p.shape for key, p in small(name, dims, num_classes=n).named_parameters()} for n in (2, 5))
    assert two.keys() == five.keys()
    changed = {key: (two[key], five[key]) for key in two if two[key] != five[key]}
    assert changed
    for key, shapes in changed.items():
        assert "encoder" not in key
        assert all(a == b or 5 * a == 2 * b for a, b in zip(*shapes, strict=True)), key


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_patch_warnings_name_options(name, dims):
    for warning in check_patch(small(name, dims), (2,) * dims):
        option, _, text = warning.removeprefix("network.").partition(": ")
        assert option in network_options(name)
        assert text


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
            found = parts(network(image(dims, SIZES[dims][1])))
        sum(logits.float().square().sum() for logits in found).backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.isfinite(logits).all() for logits in found)
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
