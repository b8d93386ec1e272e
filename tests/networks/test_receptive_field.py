"""Extents worked out by hand, or known from the papers."""

import pytest

from medseg.networks.receptive_field import receptive_field

TINY = {"channels": (8, 8), "num_res_units": 0}


@pytest.mark.parametrize(("n", "expected"), [(64, 7), (66, 9)])
def test_a_small_u_net_by_hand(n, expected):
    # The deconvolution takes one cell for an even voxel and two for an odd one; 3x3 adds two; their stride is 2.
    assert receptive_field("unet", (n, n), strides=(2,), **TINY) == (expected, expected)


def test_each_axis_has_its_own():
    # Without stride three 3x3x3 convolutions see 7 along the last axis.
    assert receptive_field("unet", (66, 64, 16), strides=((2, 2, 1),), **TINY) == (9, 7, 7)


@pytest.mark.parametrize(
    ("name", "options", "map_sees", "stride"),
    [
        ("deeplabv1", {}, 435, 8),
        ("fcn", {"variant": "32s"}, 404, 32),
        ("fcn", {}, 404, 32),
        ("fcn_resnet", {"encoder": "resnet18"}, 435 + 2 * 8, 8),
        ("fcn_resnet", {"encoder": "resnet18", "output_stride": 16}, 435 + 2 * 16, 16),
        ("fcn_resnet", {"encoder": "resnet50"}, 427 + 2 * 8, 8),
    ],
)
def test_a_voxel_between_two_cells_sees_what_both_see(name, options, map_sees, stride):
    """Dilation keeps what the encoder sees; a 3x3 head on its map adds two of its strides."""
    assert receptive_field(name, (512, 512), **options) == (map_sees + stride,) * 2


@pytest.mark.parametrize("name", ["pspnet", "deeplabv3", "encnet"])
def test_what_gathers_the_whole_map_sees_the_whole_patch(name):
    assert receptive_field(name, (40, 600), encoder="resnet18") == (40, 600)


def test_the_patch_caps_it():
    assert receptive_field("fcn", (30, 37, 16)) == (30, 37, 16)


def test_the_width_does_not_matter():
    narrow, wide = (receptive_field("dynunet", (300, 8), strides=(1, 2, 2), filters=f) for f in ((8,) * 3, (9, 16, 32)))
    assert narrow == wide == (narrow[0], 8)
    assert narrow[0] < 100


def test_norms_over_the_patch_do_not_count_as_seeing():
    assert receptive_field("unet", (64, 64), strides=(2,), norm="instance", **TINY) == (7, 7)
