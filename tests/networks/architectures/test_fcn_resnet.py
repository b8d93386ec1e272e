import pytest
import torch

from medseg.networks import build_network
from medseg.networks.table import count_parameters


@pytest.mark.parametrize(
    ("encoder", "auxiliary", "expected"),
    [
        ("resnet50", False, 32_957_013),
        ("resnet101", False, 51_949_141),
        ("resnet50", True, 35_322_218),
        ("resnet101", True, 54_314_346),
    ],
)
def test_number_of_parameters(encoder, auxiliary, expected):
    assert count_parameters("fcn_resnet", 2, 3, 21, encoder=encoder, auxiliary=auxiliary) == expected


def test_parameters_of_the_heads_stand_in_torchvision_s_order():
    with torch.device("meta"):
        network = build_network("fcn_resnet", 2, 3, 21, auxiliary=True)
    shapes = [tuple(p.shape) for name, p in network.named_parameters() if not name.startswith("encoder.")]
    assert shapes == [
        *((512, 2048, 3, 3), (512,), (512,), (21, 512, 1, 1), (21,)),
        *((256, 1024, 3, 3), (256,), (256,), (21, 256, 1, 1), (21,)),
    ]


def test_the_last_map_has_stride_8_unless_asked():
    assert network().encoder.strides[-1] == (8, 8)
    assert network(output_stride=32).encoder.strides[-1] == (32, 32)


def network(**options):
    torch.manual_seed(0)
    return build_network("fcn_resnet", 2, 1, 3, **({"encoder": "resnet18", "width": 0.125} | options))


def test_the_third_stage_is_trained_with_weight_0_5():
    (third,) = network(auxiliary=True)(torch.randn(1, 1, 33, 40)).auxiliary
    assert (third.name, third.weight, third.logits.shape) == ("stage3", 0.5, (1, 3, 33, 40))


def test_in_eval_mode_the_auxiliary_head_is_not_run():
    scored = network(auxiliary=True).eval()
    scored.auxiliary.hidden.register_forward_hook(lambda *_: pytest.fail("the auxiliary head ran"))
    assert scored(torch.randn(1, 1, 33, 40)).shape == (1, 3, 33, 40)
