"""Slices by their own Dice: which are drawn, contours above and errors below."""

import numpy as np
import pytest
from matplotlib.image import imread

from medseg.reports.figures import slices
from medseg.types import Grid, Volume

SIDE = 16


def volume(voxels: np.ndarray) -> Volume:
    return Volume(voxels, Grid(voxels.shape, np.diag([10.0, 10.0, 10.0, 1.0])))


def block() -> np.ndarray:
    voxels = np.zeros((SIDE, SIDE, SIDE), np.uint8)
    voxels[4:12, 4:12, 5:8] = 1
    return voxels


def draw(path, segmentation: np.ndarray, image: np.ndarray | None = None) -> np.ndarray:
    """(2 rows, columns of the picture halves): RGB of contours above, errors below."""
    image = np.full(block().shape, -100, np.int16) if image is None else image
    slices(
        volume(image),
        volume(block()),
        volume(segmentation),
        ("liver",),
        intensity_range_hu=(-100, 100),
        title="study",
        path=path,
    )
    return imread(path)[70:-60, :, :3]


def red(picture: np.ndarray) -> int:
    return int(np.sum((picture[..., 0] > 0.6) & (picture[..., 1:].max(axis=-1) < 0.4)))


def test_the_worst_the_median_and_the_best_slice_stand_side_by_side(tmp_path):
    segmentation = block()
    segmentation[4:8, :, 6] = 0  # half missed: the median
    segmentation[4:11, :, 7] = 0  # nearly all missed: the worst
    image = np.full(block().shape, -100, np.int16)
    image[..., 7] = 100
    picture = draw(tmp_path / "x.png", segmentation, image)
    top, bottom = picture[: len(picture) // 2], picture[len(picture) // 2 :]
    worst, median, best = (np.array_split(bottom, 3, axis=1)[i] for i in range(3))
    assert red(worst) > 1.5 * red(median) > 1000
    assert red(best) == red(top) == 0
    assert np.median(np.array_split(top, 3, axis=1)[0]) == 1.0  # the bright slice is the worst one


@pytest.mark.parametrize("empty", ["segmentation", "both"])
def test_empty_labels_are_drawn_too(tmp_path, empty):
    nothing = np.zeros_like(block())
    slices(
        volume(np.zeros(nothing.shape, np.int16)),
        volume(nothing if empty == "both" else block()),
        volume(nothing),
        ("liver",),
        intensity_range_hu=(-100, 100),
        title="study",
        path=tmp_path / "x.png",
    )
    assert imread(tmp_path / "x.png").shape[1] > 700
