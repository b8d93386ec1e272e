import pytest
import torch
from torch.nn import functional as F

from medseg.networks import build_network
from medseg.networks.architectures.ocrnet import ObjectContext, soft_regions
from medseg.networks.table import count_parameters

SMALL = {"encoder": "resnet18", "width": 0.125}
NORMS = ["batch", "instance", "group", "none"]


def ocrnet(dims=2, num_classes=3, **options):
    torch.manual_seed(0)
    return build_network("ocrnet", dims, 1, num_classes, **(SMALL | {"dropout": 0.0} | options))


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "options", "expected"),
    [
        (2, 3, 21, {"encoder": "resnet101"}, 57_863_786),
        (3, 3, 21, {"encoder": "resnet101"}, 128_920_298),
        (2, 1, 2, {"encoder": "resnet50"}, 38_845_892),
        (2, 1, 2, {"encoder": "resnet101"}, 57_838_020),
        (3, 1, 2, {"encoder": "resnet50"}, 89_810_756),
        (3, 1, 2, {"encoder": "resnet101"}, 128_856_900),
        # mmsegmentation's ocrnet_r101-d8 (55,516,294), whose coarse head has 256 channels
        (2, 3, 19, {"encoder": "resnet101", "stem": "c"}, 55_516_294 + 2_364_672),
    ],
)
def test_number_of_parameters(dims, in_channels, num_classes, options, expected):
    assert count_parameters("ocrnet", dims, in_channels, num_classes, **options) == expected


@pytest.mark.parametrize("size", [(4, 5), (2, 3, 4)])
def test_the_weights_of_a_region_sum_to_1_over_space(size):
    regions = soft_regions(torch.full((2, 6, *size), 3.0), torch.randn(2, 4, *size))
    assert regions.shape == (2, 6, 4, *(1 for _ in size[1:]))
    torch.testing.assert_close(regions, torch.full_like(regions, 3.0))


@pytest.mark.parametrize("size", [(4, 5), (2, 3, 4)])
def test_the_region_of_a_certain_class_is_its_mean(size):
    x, classes = torch.randn(1, 6, *size), (torch.arange(2 * 10 + 4).reshape(-1)[: torch.Size(size).numel()] % 3)
    scores = 1000 * F.one_hot(classes, 3).T.float().reshape(1, 3, *size)
    regions = soft_regions(x, scores).flatten(2)
    for k in range(3):
        torch.testing.assert_close(regions[0, :, k], x.flatten(2)[0][:, classes == k].mean(dim=1))


def test_the_order_of_the_regions_does_not_matter():
    network, x = ocrnet(num_classes=5).eval(), torch.randn(1, 1, 40, 32)
    torch.nn.init.normal_(network.coarse.classifier.weight)
    expected, order = network(x), torch.tensor([3, 0, 4, 1, 2])
    features, scores = torch.randn(1, 6, 4, 4), torch.randn(1, 5, 4, 4)
    torch.testing.assert_close(soft_regions(features, scores[:, order]), soft_regions(features, scores)[:, :, order])
    with torch.no_grad():
        for parameter in network.coarse.classifier.parameters():
            parameter.copy_(parameter[order])
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", [(4, 5), (2, 3, 4)])
def test_one_class_gives_every_voxel_the_same_context_and_trains_at_batch_1(norm, size):
    context = ObjectContext(len(size), 16, 8, norm=norm).train()
    weighed = []
    context.project.register_forward_pre_hook(lambda _, args: weighed.append(args[0]))
    context(torch.randn(1, 16, *size), torch.randn(1, 16, 1, *(1 for _ in size[1:])))
    torch.testing.assert_close(
        weighed[0], weighed[0].flatten(2)[..., :1].view(1, 8, *(1 for _ in size)).expand(1, 8, *size)
    )


@pytest.mark.parametrize("norm", NORMS)
def test_one_class_and_batch_1_can_be_trained(norm):
    output = ocrnet(num_classes=1, norm=norm).train()(torch.randn(1, 1, 20, 20))
    output.logits.sum().backward()
    assert torch.isfinite(output.logits).all()


def test_context_is_the_attention_of_voxels_to_regions():
    context, x, regions = ObjectContext(2, 16, 8, norm="none"), torch.randn(1, 16, 3, 2), torch.randn(1, 16, 4, 1)
    weighed = []
    context.project.register_forward_pre_hook(lambda _, args: weighed.append(args[0]))
    context(x, regions)
    query, key, value = (
        f(y)[0].flatten(1).T for f, y in ((context.query, x), (context.key, regions), (context.value, regions))
    )
    for voxel, found in zip(query, weighed[0][0].flatten(1).T, strict=True):
        torch.testing.assert_close(found, (key @ voxel / 8**0.5).softmax(dim=0) @ value)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_features_of_two_regions_keep_their_sizes_under_the_norm(norm):
    key = ObjectContext(2, 16, 8, norm=norm).key
    assert key(torch.randn(1, 16, 2, 1)).unique().numel() > 4  # batch norm would leave -1 and 1


def test_coarse_scores_are_an_output_in_training_only():
    network, x = ocrnet(), torch.randn(1, 1, 40, 24)
    (coarse,) = network.train()(x).auxiliary
    assert (coarse.name, coarse.weight, coarse.logits.shape) == ("coarse", 0.4, (1, 3, 40, 24))
    expected = network.eval()(x)
    assert isinstance(expected, torch.Tensor)
    torch.nn.init.normal_(network.coarse.classifier.weight, std=10.0)
    assert not torch.equal(network(x), expected), "the regions need the coarse scores in eval mode too"


def test_the_loss_of_the_logits_reaches_the_coarse_scores():
    network = ocrnet()
    network.train()(torch.randn(2, 1, 40, 24)).logits.square().sum().backward()
    assert network.coarse.classifier.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("output_stride", [16, 32])
def test_coarse_scores_of_a_finer_stage_are_brought_to_the_last_map(output_stride):
    output = ocrnet(3, output_stride=output_stride).train()(torch.randn(1, 1, 40, 33, 9))
    assert output.logits.shape == output.auxiliary[0].logits.shape == (1, 3, 40, 33, 9)
