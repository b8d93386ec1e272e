"""Errors of the whole volume: red where missed, blue where extra, denser the deeper."""

import numpy as np
from matplotlib.image import imread

from medseg.reports.figures import error_map
from medseg.types import Grid, Volume

SIDE = 16  # voxels of 10 mm: everything is shown


def volume(voxels: np.ndarray) -> Volume:
    return Volume(voxels, Grid(voxels.shape, np.diag([10.0, 10.0, 10.0, 1.0])))


def block(start: int, stop: int, label: int = 1) -> np.ndarray:
    voxels = np.zeros((SIDE, SIDE, SIDE), np.uint8)
    voxels[start:stop, 4:12, 4:12] = label
    return voxels


def draw(path, reference: np.ndarray, segmentation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """RGB of the axial panels: missed, extra."""
    error_map(
        volume(np.full(reference.shape, -100, np.int16)),
        volume(reference),
        volume(segmentation),
        ("liver", "tumour"),
        intensity_range_hu=(-100, 100),
        title="study",
        path=path,
    )
    picture = imread(path)[70:-60, :, :3]
    axial = picture[:, : picture.shape[1] // 3]
    return axial[: len(axial) // 2], axial[len(axial) // 2 :]


def count(panel: np.ndarray, channel: int) -> int:
    others = [c for c in range(3) if c != channel]
    return int(np.sum((panel[..., channel] > 0.6) & (panel[..., others].max(axis=-1) < 0.55)))


def test_missed_is_above_in_red_and_extra_below_in_blue(tmp_path):
    missed, extra = draw(tmp_path / "x.png", block(4, 10), block(8, 12))
    assert count(missed, 0) > 1000
    assert count(extra, 2) > 1000
    assert count(missed, 2) == count(extra, 0) == 0
    # R 4 to 7 are missed, R 10 and 11 extra: twice the area
    assert 1.6 < count(missed, 0) / count(extra, 2) < 2.4


def test_another_label_is_missed_for_the_one_and_extra_for_the_other(tmp_path):
    missed, extra = draw(tmp_path / "x.png", block(4, 8), block(4, 8, label=2))
    assert count(missed, 0) > 1000
    assert count(extra, 2) > 1000


def test_agreement_and_ignored_voxels_show_no_error(tmp_path):
    ignored = np.where(block(4, 8) == 1, np.uint8(255), np.uint8(0))
    for reference in (block(4, 8), ignored):
        missed, extra = draw(tmp_path / "x.png", reference, block(4, 8))
        assert count(missed, 0) == count(extra, 2) == 0


def test_a_thin_error_is_fainter_than_a_deep_one(tmp_path):
    thin = block(4, 8)
    thin[4:8, 4:12, 4] = 0  # one voxel of eight along the axis
    faint = draw(tmp_path / "x.png", block(4, 8), thin)[0][..., 0].max()
    dense = draw(tmp_path / "y.png", block(4, 8), block(0, 0))[0]
    assert count(dense, 0) > 1000
    assert count(draw(tmp_path / "x.png", block(4, 8), thin)[0], 0) < count(dense, 0)
    assert faint > 0.3
