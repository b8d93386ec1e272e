import pytest
import torch
from torch import nn

from medseg.losses.terms import CrossEntropy, Dice
from medseg.losses.weighted_sum import build_loss
from medseg.model.classes import Classes
from medseg.networks import build_network
from medseg.networks.encoder_names import ENCODERS
from medseg.networks.layers.sizes import pad_small
from medseg.networks.outputs import TrainingOutput, to_size
from medseg.networks.table import count_parameters
from medseg.training.auxiliary import training_loss

SMALL = {"encoder": "resnet18", "width": 0.125, "dropout": 0.0}


def cascade(dims=2, **options):
    torch.manual_seed(0)
    network = build_network("layer_cascade", dims, 1, 3, **(SMALL | options))
    for head in network.heads:  # classifiers start near zero: no class would lead anywhere
        nn.init.normal_(head.classifier.weight, std=0.5)
    for module in network.modules():  # running statistics as after training: probabilities of all sizes
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.momentum = 1.0
    network.train()(image(*(24,) * dims, batch=2))
    return network.eval()


def image(*size, batch=1):
    return torch.randn(batch, 1, *size, generator=torch.Generator().manual_seed(1))


def everywhere(network, x):
    """Logits of the three heads, all computed on all voxels."""
    padded = pad_small(x, network.minimum)
    scores = to_size(network.score(network.encoder(padded)), padded.shape[2:], x.shape[2:])
    return [*(auxiliary.logits for auxiliary in scores.auxiliary), scores.logits]


def count_runs(layer):
    runs = []
    layer.register_forward_hook(lambda _, inputs, output: runs.append(tuple(output.shape)))
    return runs


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "encoder", "kernel"),
    [(2, 3, 21, 23_508_032, 9), (2, 1, 2, 23_501_760, 9), (3, 3, 21, 46_198_976, 27), (3, 1, 2, 46_155_072, 27)],
)
def test_number_of_parameters_is_the_encoder_s_and_three_heads(dims, in_channels, num_classes, encoder, kernel):
    heads = kernel * (512 + 1024 + 2048) * 256 + 3 * (2 * 256 + 256 * num_classes + num_classes)
    assert count_parameters("layer_cascade", dims, in_channels, num_classes) == encoder + heads


@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_is_skipped_would_not_have_changed_the_logits(encoder):
    network, x = cascade(encoder=encoder).double(), image(37, 50, batch=2).double()
    first, second, last = everywhere(network, x)
    network.threshold = round(first.softmax(1).amax(1).quantile(0.5).item(), 4)  # no voxel's own, to the last digit
    after_first = network.undecided(first)
    after_second = after_first & network.undecided(second)
    expected = torch.where(after_first[:, None], torch.where(after_second[:, None], last, second), first)
    logits, stage = network.decide(x)
    assert 0 < after_first.float().mean() < 1
    assert torch.equal(stage, after_first.to(torch.uint8) + after_second)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(network(x), logits, rtol=0, atol=0)
    assert torch.bincount(stage.flatten(), minlength=3).sum() == stage.numel()


def test_without_a_threshold_the_last_head_decides_all():
    network, x = cascade(threshold=1.0), image(24, 33)
    for head in network.heads:
        nn.init.constant_(head.classifier.bias[0], 1e4)  # a probability of exactly 1 is no decision either
    logits, stage = network.decide(x)
    assert (stage == 2).all()
    torch.testing.assert_close(logits, everywhere(network, x)[-1])
    output = network.train()(x)
    assert output.counted is None
    assert [auxiliary.counted for auxiliary in output.auxiliary] == [None, None]


def test_threshold_0_is_the_first_head_and_runs_no_later_stage():
    network, x = cascade(threshold=0.0), image(24, 33)
    runs = [count_runs(layer) for layer in (network.encoder.layer3[0], network.encoder.layer4[0], *network.heads[1:])]
    logits, stage = network.decide(x)
    assert runs == [[], [], [], []]
    assert (stage == 0).all()
    torch.testing.assert_close(logits, everywhere(network, x)[0])


def test_only_the_images_of_a_batch_that_have_voxels_left_go_on():
    network, x = cascade(), image(24, 24, batch=3)
    left = iter([True, False, False, True, True])  # image 1: both stages; 2: the first head; 3: all three heads

    def undecided(logits):
        return torch.full(logits[:, 0].shape, next(left))

    network.undecided = undecided
    third, fourth = (count_runs(layer[0]) for layer in (network.encoder.layer3, network.encoder.layer4))
    _, stage = network.decide(x)
    assert (len(third), len(fourth)) == (2, 1)
    assert stage.flatten(1).unique(dim=1).flatten().tolist() == [1, 0, 2]


def test_a_voxel_trains_the_heads_that_it_reaches():
    network, x = cascade().train(), image(24, 24, batch=2)
    network.threshold = 0.6
    output = network(x)
    first, second = output.auxiliary
    assert isinstance(output, TrainingOutput)
    assert (first.name, second.name) == ("stage1", "stage2")
    assert first.counted is None
    assert torch.equal(second.counted, first.logits.softmax(1).amax(1) < 0.6)
    assert torch.equal(output.counted, second.counted & (second.logits.softmax(1).amax(1) < 0.6))
    assert 0 < output.counted.sum() < second.counted.sum() < second.counted.numel()


def test_a_probability_decides_and_not_a_logit():
    network = cascade(threshold=0.9)
    logits = torch.tensor([[9.0, 9.0, 9.0], [0.0, 3.0, -9.0]]).reshape(2, 3, 1, 1)  # best: 1/3 and 0.953
    assert network.undecided(logits).flatten().tolist() == [True, False]


def test_a_loss_of_no_voxel_is_finite():
    network, x = cascade(threshold=0.0).train(), image(24, 24)
    loss = build_loss([Dice(), CrossEntropy()], Classes(("a", "b")))
    value, _ = training_loss(loss, network(x), torch.zeros(1, 24, 24, dtype=torch.int64))
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("encoder", ["resnet18", "resnet50"])
def test_later_layers_see_a_box_and_the_logits_stay(encoder, output_stride):
    network, x = cascade(encoder=encoder, output_stride=output_stride).double(), image(501, 16).double()
    runs = [count_runs(layer[-1]) for layer in (network.encoder.layer3, network.encoder.layer4)]
    masks = torch.zeros(2, 1, 501, 16, dtype=torch.bool)
    masks[0, :, 243:259, 3:] = True
    masks[1, :, 250:253, 5:9] = True
    left = iter(masks)
    network.undecided = lambda logits: next(left)
    logits, stage = network.decide(x)
    sizes = [shapes[0][2] for shapes in runs]
    _, second, last = everywhere(network, x)
    assert torch.equal(stage, masks.sum(0))
    for number, scores in ((1, second), (2, last)):
        where = (stage == number).expand_as(logits)
        torch.testing.assert_close(logits[where], scores[where])
    for size, shapes in zip(sizes, runs, strict=True):
        assert size < shapes[1][2]


def test_thick_slices_have_boxes_too():
    options = {"flat_levels": 3, "output_stride": 4, "stem_stride": 1}
    network, x = cascade(3, **options).double(), image(260, 9, 6).double()
    runs = count_runs(network.encoder.layer3[-1])
    mask = torch.zeros(1, 260, 9, 6, dtype=torch.bool)
    mask[:, 127:130, 2:4, 3] = True
    network.undecided = lambda logits: mask
    logits, _ = network.decide(x)
    where = mask.expand_as(logits)
    torch.testing.assert_close(logits[where], everywhere(network, x)[-1][where])
    assert runs[0][2] < runs[1][2]


def test_a_norm_of_whole_maps_leaves_them_whole():
    network, x = cascade(norm="instance"), image(301, 16)
    runs = count_runs(network.encoder.layer4), count_runs(network.heads[2].hidden)
    mask = torch.zeros(1, 301, 16, dtype=torch.bool)
    mask[:, 150] = True
    network.undecided = lambda logits: mask
    logits, _ = network.decide(x)
    torch.testing.assert_close(logits[:, :, 150], everywhere(network, x)[-1][:, :, 150])
    assert runs[0][0] == runs[0][1]
    assert runs[1][0] == runs[1][1]
