import pytest

from medseg.networks.macs import count_macs

TINY = {"channels": (8, 8), "strides": (2,), "num_res_units": 0}
"""A U-Net of three convolutions: 3x3 with stride 2, 3x3, and a 3x3 deconvolution from 16 channels to the classes."""


@pytest.mark.parametrize(("patch_size", "cells", "taps"), [((16, 16), 8**2, 9), ((16, 16, 16), 8**3, 27)])
def test_convolutions_are_counted_by_hand(patch_size, cells, taps):
    assert count_macs("unet", patch_size, **TINY) == cells * taps * (1 * 8 + 8 * 8 + 16 * 2)


@pytest.mark.parametrize(
    ("name", "encoder", "theirs"),
    [
        ("fcn_resnet", "resnet50", 152.717),
        ("fcn_resnet", "resnet101", 232.738),
        ("deeplabv3", "resnet50", 178.722),
        ("deeplabv3", "resnet101", 258.743),
    ],
)
def test_torchvision_gives_the_same_number_for_its_networks(name, encoder, theirs):
    """In thousand millions, for 520 x 520 pixels; its networks run their auxiliary head in eval mode too."""
    auxiliary = 65 * 65 * (1024 * 256 * 9 + 256 * 21)
    assert round((count_macs(name, (520, 520), 3, 21, encoder=encoder) + auxiliary) / 1e9, 3) == theirs


def test_products_of_matrices_are_counted():
    # 64 cells of 64 channels against each codeword, once for the distance and once for the sum
    few, many = (count_macs("encnet", (64, 64), encoder="resnet18", width=0.125, codewords=k) for k in (8, 16))
    assert many - few == 2 * 8 * 64 * 64


def test_all_is_counted_where_the_image_decides_what_runs():
    # one more class is one more output of 32 channels at 64 cells, in each of three heads
    two, three = (count_macs("layer_cascade", (64, 64), 1, n, encoder="resnet18", width=0.125) for n in (2, 3))
    assert three - two == 3 * 64 * 32


def test_no_size_takes_memory():
    large = count_macs("deconvnet", (512, 512, 512), fc_kernel=7, fc_width=4096)
    assert large > 10**13
