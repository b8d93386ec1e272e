"""Windows cover a study, and what they say is joined as if the network had seen it whole."""

import pytest
import torch
from torch import nn

from medseg.errors import StudyError
from medseg.inference.predictor import Predictor
from medseg.inference.sliding_window import predict_slices
from medseg.inference.windows import Windows
from medseg.model.classes import Classes
from medseg.model.inference import Inference
from medseg.model.view import View


def windows_of(size, mode="patch", neighbours=0, **settings):
    return Windows(Inference(window_size=size, **settings), View(mode, neighbours))


def predict_logits(network, image, windows, num_classes):
    """All of a study's logits at once: (num_classes, I, J, K)."""
    classes = Classes(tuple(f"class {c}" for c in range(1, num_classes)))
    predictor = Predictor([network], classes, windows.settings, torch.device("cpu"))
    slices = list(predict_slices(predictor, image, windows, predictor.blank()))
    return torch.cat(slices).permute(1, 2, 3, 0)


class PerVoxel(nn.Module):
    """Logits (-x, x, x squared) of the middle channel: the same for a voxel in whichever window it lies."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, x):
        self.sizes.append(tuple(x.shape))
        middle = x[:, x.shape[1] // 2]
        return torch.stack([-middle, middle, middle**2], dim=1)


def convolution(dims, in_channels=1):
    torch.manual_seed(0)
    layer = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    return layer(in_channels, 2, 3, padding=1).eval()


def image_of(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("blending", ["gaussian", "constant"])
@pytest.mark.parametrize(
    ("mode", "size", "neighbours"), [("patch", (6, 5, 4), 0), ("slice", (6, 5), 0), ("slab", (6, 5), 2)]
)
@pytest.mark.parametrize("shape", [(13, 9, 7), (6, 5, 4), (3, 2, 1), (20, 4, 5)])
def test_function_of_the_voxel_gives_the_same_logits_as_on_the_whole_volume(mode, size, neighbours, blending, shape):
    image = image_of(*shape)
    windows = windows_of(size, mode, neighbours, overlap=0.4, blending=blending, batch_size=3, flip_axes=("R", "A"))
    logits = predict_logits(PerVoxel(), image, windows, 3)
    assert logits.dtype == torch.float32
    assert torch.allclose(logits, torch.stack([-image, image, image**2]), atol=1e-5)


def test_overlapping_windows_are_averaged_by_their_weights():
    class Numbered(nn.Module):
        def forward(self, x):
            return torch.arange(1.0, len(x) + 1)[:, None, None, None, None].expand(-1, 2, *x.shape[2:])

    windows = windows_of((4, 1, 1), overlap=0.5, blending="constant", batch_size=9)
    logits = predict_logits(Numbered(), torch.ones(8, 1, 1), windows, 2)
    assert logits[0].flatten().tolist() == [1, 1, 1.5, 1.5, 2.5, 2.5, 3, 3]
    bell = windows_of((4, 1, 1)).weights().flatten()
    logits = predict_logits(Numbered(), torch.ones(6, 1, 1), windows_of((4, 1, 1)), 2)
    assert logits[1, 2].item() == pytest.approx(((bell[2] + 2 * bell[0]) / (bell[2] + bell[0])).item())


@pytest.mark.parametrize("blending", ["gaussian", "constant"])
@pytest.mark.parametrize("mode", ["patch", "slice"])
def test_equals_monais_sliding_window_where_both_place_the_windows_alike(blending, mode):
    from monai.inferers import sliding_window_inference

    # steps of half a window divide the volume: elsewhere MONAI pushes its last window back, we spread all of them
    image, size = image_of(16, 12, 8), (8, 6, 4)
    if mode == "patch":
        network = convolution(3)
        expected = sliding_window_inference(image[None, None], size, 4, network, 0.5, mode=blending)[0]
    else:
        network, size = convolution(2), (8, 6)
        slices = image.movedim(-1, 0)[:, None]
        expected = sliding_window_inference(slices, size, 4, network, 0.5, mode=blending).movedim(0, -1)
    with torch.inference_mode():
        logits = predict_logits(network, image, windows_of(size, mode, blending=blending), 2)
    assert torch.allclose(logits, expected, atol=1e-5)


def test_flips_are_undone_and_averaged():
    image, network = image_of(6, 5, 4), convolution(3)
    logits = predict_logits(network, image, windows_of((6, 5, 4), flip_axes=("R", "S")), 2)
    with torch.inference_mode():
        flipped = [
            network(image.flip(axes)[None, None])[0].flip([a + 1 for a in axes]) for axes in ([], [0], [2], [0, 2])
        ]
    assert torch.allclose(logits, torch.stack(flipped).mean(dim=0), atol=1e-5)
    assert not torch.allclose(logits, flipped[0], atol=1e-3)


THREE_MODES = pytest.mark.parametrize(
    ("mode", "size", "neighbours"), [("patch", (6, 5, 4), 0), ("slice", (6, 5), 0), ("slab", (6, 5), 1)]
)


@THREE_MODES
@pytest.mark.parametrize("fusion", ["mean", "max"])
def test_scale_one_is_exactly_the_plain_result(mode, size, neighbours, fusion):
    network, image = convolution(3 if mode == "patch" else 2, 2 * neighbours + 1), image_of(9, 8, 6)
    plain = predict_logits(network, image, windows_of(size, mode, neighbours, flip_axes=("R",)), 2)
    windows = windows_of(size, mode, neighbours, flip_axes=("R",), scales=(1.0,), scale_fusion=fusion)
    assert torch.equal(predict_logits(network, image, windows, 2), plain)


@THREE_MODES
@pytest.mark.parametrize("fusion", ["mean", "max"])
def test_network_that_does_not_mind_the_size_gives_the_same_at_all_scales(mode, size, neighbours, fusion):
    # every voxel is judged by itself, and a constant stays constant when it is resized
    windows = windows_of(size, mode, neighbours, flip_axes=("A",), scales=(0.5, 1.0, 1.7), scale_fusion=fusion)
    logits = predict_logits(PerVoxel(), torch.full((9, 8, 6), 0.3), windows, 3)
    assert torch.allclose(logits, torch.tensor([-0.3, 0.3, 0.09]).view(3, 1, 1, 1).expand(3, 9, 8, 6), atol=1e-6)


@THREE_MODES
def test_every_window_is_seen_at_every_scale_with_every_flip(mode, size, neighbours):
    network = PerVoxel()
    windows = windows_of(size, mode, neighbours, batch_size=1, flip_axes=("R", "A"), scales=(0.5, 1.0, 1.5, 0.01))
    predict_logits(network, image_of(*size[:2], 4), windows, 3)
    dims = 3 if mode == "patch" else 2
    seen = [(3, 2, 2), (6, 5, 4), (9, 8, 6), (1, 1, 1)]
    once = [(1, 2 * neighbours + 1, *shape[:dims]) for shape in seen for _ in range(4)]
    assert network.sizes == once * (1 if mode == "patch" else 4)


@pytest.mark.parametrize("fusion", ["mean", "max"])
def test_scales_are_resized_back_and_fused(fusion):
    from torch.nn.functional import interpolate

    image, network = image_of(6, 8, 4), convolution(3)
    windows = windows_of((6, 8, 4), flip_axes=("A",), scales=(0.5, 1.0), scale_fusion=fusion)

    def flipped_mean(x):
        return (network(x) + network(x.flip(3)).flip(3)) / 2

    with torch.inference_mode():
        x = image[None, None]
        small = flipped_mean(interpolate(x, size=(3, 4, 2), mode="trilinear"))
        both = torch.stack([flipped_mean(x), interpolate(small, size=(6, 8, 4), mode="trilinear")])
    expected = both.mean(dim=0) if fusion == "mean" else both.amax(dim=0)
    assert torch.allclose(predict_logits(network, image, windows, 2), expected[0], atol=1e-5)


def test_slab_sees_its_neighbours_and_the_edge_slices_again():
    class Keep(nn.Module):
        def forward(self, x):
            return x

    image = torch.arange(4.0).expand(3, 2, 4)
    channels = predict_logits(Keep(), image, windows_of((3, 2), "slab", 2), 5)
    assert channels[:, 0, 0].T.tolist() == [[0, 0, 0, 1, 2], [0, 0, 1, 2, 3], [0, 1, 2, 3, 3], [1, 2, 3, 3, 3]]


@pytest.mark.parametrize(("mode", "size", "dims"), [("patch", (5, 4, 4), 3), ("slab", (5, 4), 2)])
def test_batch_size_does_not_matter(mode, size, dims):
    network = convolution(dims, 3 if mode == "slab" else 1)
    one, many = (
        predict_logits(network, image_of(9, 8, 6), windows_of(size, mode, int(mode == "slab"), batch_size=n), 2)
        for n in (1, 7)
    )
    assert torch.allclose(one, many, atol=1e-6)


def test_no_forward_pass_is_larger_than_the_batch_and_all_have_the_windows_size():
    network = PerVoxel()
    predict_logits(network, image_of(9, 3, 4), windows_of((4, 4, 4), batch_size=3), 3)
    assert network.sizes == [(3, 1, 4, 4, 4), (1, 1, 4, 4, 4)]


def slices_of(predict, image, windows, blank, **options):
    return list(predict_slices(predict, image, windows, torch.tensor(blank), **options))


class Counted:
    """The image and its negative as scores; remembers how large the batches were, and refuses those above ``most``."""

    def __init__(self, most=99):
        self.most, self.sizes = most, []

    def __call__(self, batch, limit):
        self.sizes.append(len(batch))
        if len(batch) > self.most:
            raise torch.OutOfMemoryError("no room")
        return torch.cat([batch, -batch], dim=1)


def test_slices_come_in_order_as_soon_as_no_window_can_change_them():
    image = image_of(6, 5, 20)
    given = []

    def predict(batch, limit):
        given.append(sum(len(block) for block in blocks))
        return batch

    blocks = []
    for block in predict_slices(predict, image, windows_of((6, 5, 8), overlap=0.5), torch.zeros(1)):
        blocks.append(block)
    assert given == [0, 4, 8, 12]  # layers start at slices 0, 4, 8 and 12
    assert torch.allclose(torch.cat(blocks)[:, 0].permute(1, 2, 0), image, atol=1e-6)


@pytest.mark.parametrize("placement", ["even", "steps"])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.75])
@pytest.mark.parametrize(
    ("mode", "size", "neighbours"), [("patch", (6, 5, 4), 0), ("slice", (6, 5), 0), ("slab", (6, 5), 2)]
)
@pytest.mark.parametrize(
    "part",
    [
        (slice(9, 20), slice(4, 8), slice(3, 9)),
        (slice(0, 1), slice(8, 9), slice(5, 6)),
        (slice(22, 26), slice(0, 4), slice(0, 14)),
    ],
)
def test_windows_that_do_not_reach_into_a_part_are_not_run_and_none_of_its_voxels_is_left_out(
    mode, size, neighbours, overlap, placement, part
):
    image = image_of(26, 9, 14) + 0.1
    windows = windows_of(size, mode, neighbours, overlap=overlap, placement=placement, batch_size=2)
    network = PerVoxel()

    def run(**options):
        network.sizes = []
        found = slices_of(lambda batch, limit: network(batch), image, windows, [9.0, -9.0, -9.0], **options)
        return torch.cat(found).permute(1, 2, 3, 0), sum(sizes[0] for sizes in network.sizes)

    whole, most = run()
    found, fewer = run(within=part)
    assert found.shape == whole.shape
    assert torch.allclose(found[:, *part], whole[:, *part], atol=1e-5)
    assert 0 < fewer < most
    assert (found[0] == 9.0).any()


def test_the_same_windows_give_the_same_scores_away_from_the_edges_of_the_part():
    image, layer = image_of(64, 40, 40) + 0.1, convolution(3)
    windows, blank = windows_of((16, 16, 16)), [0.0, 0.0]
    predict = lambda batch, limit: layer(batch)  # noqa: E731
    whole = torch.cat(slices_of(predict, image, windows, blank)).permute(1, 2, 3, 0)
    part = (slice(9, 60), slice(0, 40), slice(0, 40))
    found = torch.cat(slices_of(predict, image, windows, blank, within=part)).permute(1, 2, 3, 0)
    assert not torch.equal(found[:, 9:17], whole[:, 9:17])
    assert torch.equal(found[:, 18:58], whole[:, 18:58])


def test_windows_that_show_no_body_are_not_run_and_their_voxels_are_blank():
    image = torch.zeros(12, 4, 4)
    image[:3] = 0.5
    predict = Counted()
    slices = torch.cat(slices_of(predict, image, windows_of((4, 4, 4), overlap=0.0), [7.0, -7.0]))
    assert predict.sizes == [1]
    assert slices[:, 0, :3].unique().tolist() == [0.5]
    assert slices[:, 0, 3].unique().tolist() == [0.0]  # in the window that was run
    assert slices[:, 0, 4:].unique().tolist() == [7.0]
    assert slices[:, 1, 4:].unique().tolist() == [-7.0]


def test_full_gpu_goes_on_with_smaller_batches_from_the_window_at_hand():
    image, windows = image_of(16, 4, 8), windows_of((4, 4, 4), overlap=0.0, batch_size=4)
    predict = Counted(most=1)
    slices = torch.cat(slices_of(predict, image, windows, [0.0, 0.0]))
    assert predict.sizes == [4, 2, *[1] * 8]  # eight windows in two layers: none is run twice, and no size tried again
    assert torch.allclose(slices[:, 0].permute(1, 2, 0), image, atol=1e-6)


def test_window_that_never_fits_is_refused_and_says_what_to_do():
    with pytest.raises(StudyError, match="one window of 4x4x4 voxels does not fit"):
        slices_of(Counted(most=0), image_of(4, 4, 4), windows_of((4, 4, 4)), [0.0, 0.0])


def test_sums_of_half_the_size_keep_three_digits():
    image, windows = image_of(13, 9, 7), windows_of((6, 5, 4))
    whole, half = (
        torch.cat(slices_of(Counted(), image, windows, [0.0, 0.0], dtype=t)) for t in (torch.float32, torch.float16)
    )
    assert half.dtype == torch.float32
    assert 0 < (whole - half).abs().max() < 2e-3
