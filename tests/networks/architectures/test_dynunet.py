import pytest
import torch

from medseg.errors import ConfigError
from medseg.networks import build_network
from medseg.networks.architectures.dynunet import DynUNet, plan
from medseg.networks.table import count_parameters

SMALL = {"strides": (1, 2, 2, 2), "filters": (8, 16, 24, 32)}


@pytest.mark.parametrize(
    ("dims", "options", "expected"),
    [
        (2, {}, 20_611_170),
        (3, {}, 31_189_410),
        (2, {"residual": True, "filters": (32, 64, 128, 256, 320, 320)}, 10_934_338),
        (3, {"residual": True}, 31_419_010),
        (2, {"strides": (1, 2, 2, 2, 2, 2, 2, 2)}, 46_309_474),
    ],
)
def test_number_of_parameters(dims, options, expected):
    assert count_parameters("dynunet", dims, **options) == expected


@pytest.mark.parametrize("options", [{}, {"residual": True}])
def test_a_size_that_fits_is_monai_s_own_answer(options):
    from monai.networks.nets.dynunet import DynUNet as MonaiDynUNet

    strides, filters = SMALL["strides"], SMALL["filters"]
    theirs = MonaiDynUNet(
        2, 1, 3, (3,) * 4, strides, strides[1:], filters=filters, res_block=options.get("residual", False)
    ).eval()
    ours = DynUNet(2, 1, 3, **SMALL, **options).eval()
    ours.network.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("skip_layers")})
    x = torch.randn(1, 1, 16, 24)
    assert torch.equal(ours(x), theirs(x))


def test_a_checkpoint_holds_each_weight_once():
    state = DynUNet(2, 1, 3, **SMALL).state_dict()
    assert len({tensor.data_ptr() for tensor in state.values()}) == len(state)


def test_deep_supervision_halves_the_weight_from_level_to_level_and_leaves_the_coarsest_out():
    network = DynUNet(2, 1, 3, strides=(1, 2, 2, 2, 2, 2), filters=(8,) * 6, deep_supervision=True)
    output = network(torch.randn(1, 1, 40, 32))
    assert [(a.name, a.weight, tuple(a.logits.shape)) for a in output.auxiliary] == [
        ("level1", 0.5, (1, 3, 40, 32)),
        ("level2", 0.25, (1, 3, 40, 32)),
        ("level3", 0.125, (1, 3, 40, 32)),
    ]
    maps = [map_.shape[2] for map_ in network._decoded(torch.randn(1, 1, 64, 32))]
    assert maps == [64, 32, 16, 8, 4]
    assert isinstance(network.eval()(torch.randn(1, 1, 40, 32)), torch.Tensor)


def test_dropout_leaves_the_logits_alone():
    network = DynUNet(2, 1, 3, **SMALL, dropout=0.9)
    assert (network(torch.randn(1, 1, 32, 32)) != 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": (1, 2, 2), "kernels": (3, 3)}, r"network.kernels: expected 3, one for each stride, found 2"),
        ({"kernels": (3, 3, 3, 2)}, r"network.kernels: expected odd numbers, .*found \[2, 2\] .* stage 4"),
        ({"strides": (1, 2, (2, 2, 1), 2)}, r"network.strides: expected 2 numbers for each stage"),
        ({"filters": (8, 16)}, r"network.filters: expected 4, one for each stride, found 2"),
        ({"strides": (1, 2, 2), "filters": (8, 8, 8), "deep_supervision": True}, r"network.deep_supervision: .*4"),
    ],
)
def test_stages_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        DynUNet(2, 1, 3, **(SMALL | options))


def test_cubic_voxels_are_halved_along_all_axes_until_four_cells_are_left():
    found = plan((128, 128, 128), (1.0, 1.0, 1.0))
    assert found.strides == ((1, 1, 1), *((2, 2, 2),) * 5)
    assert found.kernels == ((3, 3, 3),) * 6
    assert found.filters == (32, 64, 128, 256, 320, 320)


def test_thick_slices_are_left_alone_until_the_voxels_are_near_cubes():
    # the published plan of the Decathlon's prostate, with the axis of thick slices last
    found = plan((320, 256, 20), (0.62, 0.62, 3.6))
    flat, deep = (2, 2, 1), (2, 2, 2)
    assert found.strides == ((1, 1, 1), flat, flat, deep, deep, flat, flat)
    assert found.kernels == ((3, 3, 1), (3, 3, 1), *((3, 3, 3),) * 5)
    assert found.filters == (32, 64, 128, 256, 320, 320, 320)


def test_a_plan_for_slices_has_up_to_512_channels():
    found = plan((512, 512), (0.7, 0.7))
    assert found.strides == ((1, 1), *((2, 2),) * 7)
    assert found.filters == (32, 64, 128, 256, 512, 512, 512, 512)


@pytest.mark.parametrize(("n", "stages"), [(11, 1), (12, 2), (22, 2), (23, 3)])
def test_the_last_axis_left_needs_twelve_cells(n, stages):
    assert len(plan((n, 4), (1.0, 1.0)).strides) == stages


def test_a_plan_is_built_and_leaves_patches_of_its_size_without_warning():
    found = plan((64, 64, 12), (1.0, 1.0, 4.0))
    options = {"strides": found.strides, "kernels": found.kernels, "filters": found.filters}
    with torch.device("meta"):
        network = build_network("dynunet", 3, 1, 2, **options)
    assert network.strides == (16, 16, 2)
    assert network.patch_warnings((64, 64, 12)) == []
    (warning,) = network.patch_warnings((32, 64, 12))
    assert warning.startswith("network.strides: the coarsest map has 2 x 4 x 6 cells")


@pytest.mark.parametrize(("size", "spacing"), [((64, 64), (1.0,)), ((64, 0), (1.0, 1.0)), ((64, 64), (1.0, -1.0))])
def test_a_plan_needs_a_size_and_a_spacing_for_each_axis(size, spacing):
    with pytest.raises(ValueError, match="expected a size and a spacing above 0"):
        plan(size, spacing)
