import pytest
import torch

from medseg.errors import ConfigError
from medseg.networks.architectures.fcn import FCN
from medseg.networks.table import count_parameters

SMALL = {"width": 0.125, "fc_kernel": 3, "fc_width": 16, "dropout": 0.0}
PAPER = {"fc_kernel": 7, "fc_width": 4096}


def fcn(dims=2, **options):
    torch.manual_seed(0)
    return FCN(dims, 1, 3, **(SMALL | options)).eval()


@pytest.mark.parametrize(
    ("dims", "in_channels", "num_classes", "options", "expected"),
    [
        (2, 3, 21, {"variant": "32s"}, 134_346_581),
        (2, 3, 21, {"variant": "16s"}, 134_357_354),
        (2, 3, 21, {}, 134_362_751),
        (2, 3, 21, {"upsampling": "dense"}, 134_489_759),
        (2, 1, 2, {"variant": "32s"}, 134_267_586),
        (2, 1, 2, {}, 134_269_126),
        (2, 1, 2, {"upsampling": "dense"}, 134_270_278),
        (2, 1, 2, {"upsampling": "depthwise"}, 134_269_702),
        (2, 1, 2, {"norm": "batch"}, 134_277_574),
        (2, 1, 2, {"fc_kernel": 3, "fc_width": 1024}, 20_486_342),
        (3, 3, 21, {}, 59_379_711),
        (3, 1, 2, {}, 59_342_150),
        (3, 3, 21, {"variant": "32s", **PAPER}, 780_330_197),
        (3, 3, 21, {"variant": "16s", **PAPER}, 780_340_970),
        (3, 3, 21, PAPER, 780_346_367),
        (3, 3, 21, {"upsampling": "dense", **PAPER}, 782_209_151),
        (3, 1, 2, PAPER, 780_250_438),
    ],
)
def test_number_of_parameters(dims, in_channels, num_classes, options, expected):
    assert count_parameters("fcn", dims, in_channels, num_classes, **options) == expected


def test_8s_without_its_finer_scores_is_32s_enlarged_in_three_steps():
    fine, coarse = fcn(variant="8s"), fcn(variant="32s")
    shared = {k: v for k, v in fine.state_dict().items() if not k.startswith("score_pools")}
    coarse.load_state_dict(shared)
    torch.nn.init.zeros_(fine.score_pools[0].weight)
    torch.nn.init.zeros_(fine.score_pools[1].weight)
    x = torch.randn(1, 1, 96, 64)
    score = coarse.score_fr(coarse.fc7(coarse.fc6(coarse.encoder(x)[-1])))
    for factor in (2, 2, 8):
        score = torch.nn.functional.interpolate(score, scale_factor=factor, mode="bilinear")
    torch.testing.assert_close(fine(x), score)


@pytest.mark.parametrize("variant", ["32s", "16s", "8s"])
def test_an_image_shifted_by_the_stride_shifts_the_logits(variant):
    network = fcn(variant=variant)
    x = torch.randn(1, 1, 480, 64)
    shifted = x.roll(32, dims=2)
    # a logit sees 106 (VGG16) + 32 (fc6) + 32 (interpolation) pixels each way: stay that far from the ends of axis I
    torch.testing.assert_close(network(shifted)[..., 240 + 32 : 250 + 32, :], network(x)[..., 240:250, :])


@pytest.mark.parametrize("size", [(33, 40), (31, 65)])
def test_scores_stay_aligned_where_the_size_is_no_multiple_of_the_stride(size):
    network = fcn(variant="16s", width=1 / 64, fc_width=8)
    larger = torch.zeros(1, 1, *(n + 64 for n in size))
    x = larger[..., : size[0], : size[1]]
    # the first voxel lies in the same cells whatever follows
    torch.testing.assert_close(network(x)[..., 0, 0], network(larger)[..., 0, 0])


@pytest.mark.parametrize("upsampling", ["depthwise", "dense"])
def test_learned_upsampling_starts_as_the_fixed_one_in_the_interior(upsampling):
    fixed, learned = fcn(variant="32s"), fcn(variant="32s", upsampling=upsampling)
    learned.load_state_dict(fixed.state_dict(), strict=False)
    x = torch.randn(1, 1, 128, 128)
    torch.testing.assert_close(learned(x)[..., 32:-32, 32:-32], fixed(x)[..., 32:-32, 32:-32])


def test_an_even_fc_kernel_is_refused():
    with pytest.raises(ConfigError, match=r"network.fc_kernel: expected an odd number, found 4"):
        fcn(fc_kernel=4)
