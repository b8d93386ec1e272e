import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medseg.networks import build_network
from medseg.networks.architectures.encnet import ContextEncoding, Encoding
from medseg.networks.encoders import Backbone
from medseg.networks.table import count_parameters

SMALL = {"encoder": "resnet18", "width": 0.125, "codewords": 8}


def encnet(dims=2, **options):
    torch.manual_seed(0)
    return build_network("encnet", dims, 1, 3, **(SMALL | options))


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "options", "expected"),
    [
        (2, 3, 21, {"encoder": "resnet50"}, 33_633_866),
        (2, 3, 21, {"encoder": "resnet101"}, 52_625_994),
        (2, 3, 21, {"encoder": "resnet101", "lateral": True}, 60_493_386),
        (3, 3, 21, {"encoder": "resnet101"}, 114_413_514),
        (3, 3, 21, {"encoder": "resnet101", "lateral": True}, 136_436_682),
        (2, 1, 2, {"encoder": "resnet50"}, 33_613_220),
        (2, 1, 2, {"encoder": "resnet101"}, 52_605_348),
        (3, 1, 2, {"encoder": "resnet50"}, 75_344_420),
        (3, 1, 2, {"encoder": "resnet101"}, 114_390_564),
        # mmsegmentation's encnet_r50-d8
        (2, 3, 19, {"encoder": "resnet50", "stem": "c"}, 33_527_270),
        (2, 3, 19, {"encoder": "resnet50", "stem": "c", "auxiliary": True}, 35_891_961),
        # no layer for the presence of classes
        (2, 1, 2, {"encoder": "resnet50", "se_weight": 0.0}, 33_613_220 - 2 * 513),
    ],
)
def test_number_of_parameters(dims, in_channels, num_classes, options, expected):
    assert count_parameters("encnet", dims, in_channels, num_classes, **options) == expected


def test_codewords_and_scales_start_as_in_the_paper():
    encode = Encoding(64, 32)
    assert encode.codewords.abs().max() <= (32 * 64) ** -0.5
    assert encode.scale.min() >= -1
    assert encode.scale.max() < 0


def test_the_shares_of_each_voxel_sum_to_1():
    shares = Encoding(16, 8).assign(torch.randn(2, 50, 16))
    assert shares.shape == (2, 50, 8)
    torch.testing.assert_close(shares.sum(dim=2), torch.ones(2, 50))


@pytest.mark.parametrize("size", [(5, 4), (3, 4, 2)])
def test_the_encoding_is_the_sum_of_softly_assigned_residuals(size):
    encode, x = Encoding(6, 4), torch.randn(2, 6, *size)
    expected = torch.zeros(2, 4, 6)
    for b, voxels in enumerate(x.flatten(2).transpose(1, 2)):
        for voxel in voxels:
            residuals = voxel - encode.codewords
            shares = (encode.scale * residuals.square().sum(dim=1)).softmax(dim=0)
            expected[b] += shares.unsqueeze(1) * residuals.detach()
    torch.testing.assert_close(encode(x), expected, rtol=1e-4, atol=1e-5)


def test_voxels_that_are_codewords_leave_no_residual():
    encode = Encoding(6, 4)
    torch.nn.init.normal_(encode.codewords)
    torch.nn.init.constant_(encode.scale, -1000.0)
    x = encode.codewords.detach()[torch.tensor([0, 3, 1, 1, 2, 0])].T.reshape(1, 6, 2, 3)
    torch.testing.assert_close(encode(x), torch.zeros(1, 4, 6), rtol=0, atol=1e-5)


def test_nothing_of_the_size_voxels_by_codewords_by_channels_is_made():
    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            found = function(*args, **(kwargs or {}))
            tensors = [t for t in tree_leaves(found) if isinstance(t, torch.Tensor)]
            self.numel = max(self.numel, *(t.numel() for t in tensors), 0)
            return found

    encode, x = Encoding(16, 8), torch.randn(1, 16, 10, 10, requires_grad=True)
    with Largest() as largest:
        encode(x).sum().backward()
    assert largest.numel == x.numel()


def test_distances_are_taken_in_float32_under_autocast():
    encode, x = Encoding(64, 8), (torch.randn(1, 64, 5, 5) + 3).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = encode(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, encode(x.float()).bfloat16(), rtol=0, atol=0)


def test_the_descriptor_knows_no_order_of_voxels():
    context, x = ContextEncoding(2, 16, 8, norm="batch").eval(), torch.randn(2, 16, 5, 6)
    shuffled = x.flatten(2)[..., torch.randperm(30)].view_as(x)
    torch.testing.assert_close(context(shuffled)[1], context(x)[1], rtol=1e-4, atol=1e-5)


def test_the_norm_of_the_codewords_has_its_statistics_over_batch_and_channels():
    context = ContextEncoding(2, 16, 8, norm="batch").train()
    context.norm.momentum = 1.0
    x = torch.randn(2, 16, 4, 4)
    residuals = context.encode(context.project(x))
    context(x)
    torch.testing.assert_close(context.norm.running_mean, residuals.mean(dim=(0, 2)))


def test_without_norm_the_descriptor_does_not_grow_with_the_image():
    context, x = ContextEncoding(2, 16, 8, norm="none"), torch.randn(1, 16, 4, 4)
    torch.testing.assert_close(context(x.repeat(1, 1, 3, 3))[1], context(x)[1], rtol=1e-4, atol=1e-5)


def test_the_gate_scales_channels_by_one_to_two():
    context, x = ContextEncoding(3, 16, 8, norm="batch"), torch.rand(1, 16, 3, 4, 5) + 0.1
    ratio = context(x)[0] / x
    torch.testing.assert_close(ratio, ratio[..., :1, :1, :1].expand_as(ratio))
    assert ratio.min() > 1
    assert ratio.max() < 2


def test_presence_of_classes_is_trained_beside_the_logits():
    network, x = encnet(), torch.randn(2, 1, 24, 24)
    (presence,) = network.train()(x).auxiliary
    assert (presence.name, presence.weight, presence.logits.shape) == ("presence", 0.2, (2, 3))
    assert isinstance(network.eval()(x), torch.Tensor)


def test_a_weight_of_0_switches_presence_off():
    network = encnet(se_weight=0.0)
    assert network.presence is None
    assert isinstance(network.train()(torch.randn(2, 1, 24, 24)), torch.Tensor)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_laterals_and_the_auxiliary_head_learn(dims, output_stride):
    network = encnet(dims, lateral=True, auxiliary=True, output_stride=output_stride, dropout=0.0)
    output = network.train()(torch.randn(2, 1, *(20,) * dims))
    assert [(a.name, a.weight) for a in output.auxiliary] == [("presence", 0.2), ("stage3", 0.4)]
    assert output.auxiliary[1].logits.shape == output.logits.shape
    (output.logits.square().sum() + sum(a.logits.square().sum() for a in output.auxiliary)).backward()
    assert all(p.grad.abs().sum() > 0 for p in network.parameters() if p.ndim > 1)


def test_mobilenet_has_no_deep_stem():
    assert encnet(encoder="mobilenet_v2", stem=None).eval()(torch.zeros(1, 1, 24, 24)).shape == (1, 3, 24, 24)
    assert Backbone("mobilenet_v2").stem is None
