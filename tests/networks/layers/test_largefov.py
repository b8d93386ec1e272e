import pytest
import torch

from medseg.networks.layers.largefov import FieldOfView, LargeFOV, LargeFOVOptions


def test_only_fc6_has_holes_and_its_taps_lie_at_the_rate():
    head = FieldOfView(2, 4, 3, channels=8, rate=12, dropout=0.5)
    assert [layer.dilation for layer in (head.fc6[0], head.fc7[0], head.fc8)] == [(12, 12), (1, 1), (1, 1)]
    x = torch.randn(1, 4, 41, 41, requires_grad=True)
    head.fc6[0](x)[0, 0, 20, 20].backward()
    assert {tuple(p) for p in x.grad[0, 0].nonzero().tolist()} == {(i, j) for i in (8, 20, 32) for j in (8, 20, 32)}


def test_the_scores_are_those_of_the_features():
    head = FieldOfView(3, 4, 3, channels=8, rate=1, dropout=0.5).eval()
    x = torch.randn(1, 4, 5, 4, 3)
    assert head.features(x).shape == (1, 8, 5, 4, 3)
    torch.testing.assert_close(head(x), head.fc8(head.features(x)), rtol=0, atol=0)


def test_both_hidden_layers_drop_out_in_training():
    head = FieldOfView(2, 4, 3, channels=512, rate=1, dropout=0.5)
    seen = []
    head.fc7.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    features = head.features(torch.randn(1, 4, 4, 4))
    assert (seen[0] == 0).float().mean() > 0.6  # half by ReLU, half of the rest by dropout
    assert (features == 0).float().mean() > 0.6


@pytest.mark.parametrize(
    ("dims", "options", "rate"),
    [(2, {}, 12), (3, {}, 4), (2, {"output_stride": 16}, 6), (3, {"output_stride": 32}, 1), (3, {"atrous_rate": 2}, 2)],
)
def test_fc6_keeps_its_reach_at_every_stride(dims, options, rate):
    assert LargeFOV(dims, 4, 3, LargeFOVOptions(fc_width=8, **options)).rate == rate


@pytest.mark.parametrize("dims", [2, 3])
def test_the_map_is_smoothed_before_fc6_and_may_be_one_cell(dims):
    head = LargeFOV(dims, 1, 3, LargeFOVOptions(fc_width=8, atrous_rate=1)).eval()
    x = torch.zeros(1, 1, *[7] * dims)
    x[(0, 0, *[3] * dims)] = 1
    smooth = torch.nn.functional.conv2d if dims == 2 else torch.nn.functional.conv3d
    mean = smooth(x, torch.full((1, 1, *[3] * dims), 3.0**-dims), padding=1)
    torch.testing.assert_close(head(x), _without_pool(head)(mean))
    assert head(torch.ones(1, 1, *[1] * dims)).shape == (1, 3, *[1] * dims)


def _without_pool(head):
    plain = FieldOfView(len(head.fc6[0].kernel_size), 1, 3, channels=8, rate=1, dropout=0.5).eval()
    plain.load_state_dict(head.state_dict())
    return plain
