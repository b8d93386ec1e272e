"""A study in some 300 kB: what is kept, and where the worst slices are."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from medseg.reports.page import pack as module
from medseg.reports.page.intensity import decode_hu
from medseg.reports.page.mosaic import size_bytes
from medseg.reports.page.pack import pack, resample, worst_slices
from medseg.reports.scene import make_scene
from medseg.types import Grid, Volume
from tests.reports.page.report_phantoms import block_study


def volume(packed: dict, channel: int) -> np.ndarray:
    """(R, A, S) of a packed mosaic."""
    mosaic = np.asarray(Image.open(io.BytesIO(base64.b64decode(packed["src"].split(",")[1]))).convert("RGB"))
    nx, ny, nz = packed["shape"]
    grid = mosaic[..., channel].reshape(-1, ny, packed["columns"], nx).transpose(0, 2, 1, 3).reshape(-1, ny, nx)
    return grid[:nz].transpose(2, 1, 0)


def test_labels_are_the_scenes_own_voxels_and_hu_are_close():
    scene = make_scene(*block_study(shift=2), "study")
    packed = pack(scene)
    assert packed["labels"]["step"] == [1, 1, 1]
    assert (volume(packed["labels"], 0) == scene.reference).all()
    assert (volume(packed["labels"], 1) == scene.segmentation).all()
    assert packed["image"]["shape"] == list(scene.image.shape)
    assert np.abs(decode_hu(volume(packed["image"], 0)) - scene.image).mean() < 6
    assert packed["affine"] == scene.affine[:3].tolist()
    assert (packed["present"], packed["reference"]) == ([1], True)


def test_errors_are_counted_slice_by_slice():
    image, reference, segmentation = block_study()
    segmentation.voxels[14, 12:28, 12:28] = 0  # 256 voxels missed in one sagittal slice
    segmentation.voxels[20, 20, 12:14] = 2  # two with another label
    scene = make_scene(image, reference, segmentation, "study")
    start = np.rint(scene.affine[:3, 3] / 5).astype(int)
    packed = pack(scene)
    sagittal = dict(enumerate(packed["errors"][0], start=int(start[0])))
    assert {index: count for index, count in sagittal.items() if count} == {14: 256, 20: 2}
    assert sum(packed["errors"][2]) == 258
    worst = {label: (np.array(voxel) + start).tolist() for label, voxel in worst_slices(scene).items()}
    assert worst["0"] == worst["1"] == [14, 20, 12]
    assert worst["2"] == [20, 20, 12]


def test_without_errors_or_reference_there_is_no_worst_slice():
    image, reference, segmentation = block_study()
    assert worst_slices(make_scene(image, reference, segmentation, "study")) == {}
    packed = pack(make_scene(image, None, segmentation, "study"))
    assert (packed["worst"], packed["reference"]) == ({}, False)
    assert not volume(packed["labels"], 0).any()


def test_ignored_voxels_are_no_error_and_no_class():
    image, reference, segmentation = block_study()
    segmentation.voxels[14] = 0
    reference.voxels[14] = 255
    packed = pack(make_scene(image, reference, segmentation, "study"))
    assert (packed["present"], packed["worst"], sum(packed["errors"][0])) == ([1], {}, 0)


def test_a_study_too_rich_for_its_budget_is_thinned_and_keeps_its_box(monkeypatch):
    monkeypatch.setattr(module, "LABEL_BUDGET", 600)
    monkeypatch.setattr(module, "BUDGET", 3600)
    rng = np.random.default_rng(0)
    grid = Grid((60, 61, 62), np.diag([1.0, 1.0, 1.0, 1.0]))
    image = Volume(rng.normal(0, 200, grid.shape), grid)
    labels = Volume((rng.random(grid.shape) > 0.5).astype(np.uint8), grid)
    empty = Volume(np.zeros(grid.shape, np.uint8), grid)
    packed = pack(make_scene(image, labels, empty, "study"))
    assert packed["labels"]["step"] != [1, 1, 1]
    step = packed["labels"]["step"]
    assert packed["labels"]["shape"] == [-(-size // n) for size, n in zip(grid.shape, step, strict=True)]
    assert [len(counts) for counts in packed["errors"]] == packed["labels"]["shape"]
    assert sum(packed["errors"][1]) == labels.voxels.sum()  # counted before anything was left out
    assert packed["shape"] == list(grid.shape)
    assert size_bytes(packed["image"]["src"]) + size_bytes(packed["labels"]["src"]) <= 3600


def test_resampling_averages_and_keeps_a_ramp_in_place():
    ramp = np.repeat(np.arange(40.0)[:, None, None], 12, axis=1).repeat(5, axis=2)
    thin = resample(ramp, np.array([1.0, 1.0, 4.0]), 2.0)
    assert thin.shape == (20, 6, 5)
    # voxel i of 2 mm is centred on 2 i + 0.5 of the 1 mm voxels
    assert thin[3:-3, 3, 2] == pytest.approx(2 * np.arange(20)[3:-3] + 0.5, abs=1e-3)
    assert (resample(ramp, np.array([3.0, 3.0, 4.0]), 2.0) == ramp).all()
