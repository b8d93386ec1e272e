import pytest
import torch

from medseg.networks.encoders import Backbone
from medseg.networks.layers.auxiliary_head import AuxiliaryHead

BACKBONE = Backbone("resnet18", 8, norm="group", width=0.125)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return BACKBONE.build(2, 1)


def test_torchvision_s_head_has_its_number_of_parameters():
    with torch.device("meta"):
        backbone = Backbone("resnet50")
        head = AuxiliaryHead(2, backbone.build(2, 3), 21, backbone=backbone, weight=0.5)
    assert sum(p.numel() for p in head.parameters()) == 2_365_205


def test_norm_and_width_are_the_encoder_s(encoder):
    head = AuxiliaryHead(2, encoder, 3, backbone=BACKBONE, weight=0.5)
    convolution, norm, _ = head.hidden
    assert (convolution.in_channels, convolution.out_channels) == (encoder.channels[3], 32)
    assert isinstance(norm, torch.nn.GroupNorm)


def test_the_third_stage_is_scored_beside_the_scores_in_train_mode_alone(encoder):
    head = AuxiliaryHead(2, encoder, 3, backbone=BACKBONE, weight=0.4, dropout=0.0)
    scores, maps = torch.zeros(1, 3, 5, 5), encoder(torch.randn(1, 1, 40, 40))
    output = head.beside(scores, maps)
    assert output.logits is scores
    (third,) = output.auxiliary
    assert (third.name, third.weight) == ("stage3", 0.4)
    assert torch.equal(third.logits, head(maps[3]))
    head.hidden.register_forward_hook(lambda *_: pytest.fail("the head ran"))
    assert head.eval().beside(scores, maps) is scores
