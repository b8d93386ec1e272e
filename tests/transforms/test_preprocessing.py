"""The chain from a study's own grid to the network's: orientation, body box, spacing, window."""

import nibabel.orientations as turns
import numpy as np
import pytest
import torch

from medseg.errors import GeometryError
from medseg.phantom.make import SMALL, make_phantom
from medseg.study.geometry import orientation, reorient
from medseg.transforms.preprocessing import body_box, network_box, preprocess, preprocess_label
from medseg.transforms.settings import Preprocessing
from medseg.types import Grid, Volume

WIDE = Preprocessing(intensity_range_hu=(0.0, 1000.0), crop_to_body=False)
"""Nothing but the order of the axes, in thousandths."""


def stored_as(codes: str) -> Volume:
    """210 different numbers on an anisotropic grid whose axes point where ``codes`` says."""
    voxels = np.arange(210, dtype=np.int16).reshape(5, 6, 7)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = 10, 20, 30
    steps = turns.ornt_transform(turns.axcodes2ornt("RAS"), turns.axcodes2ornt(codes))
    voxels = turns.apply_orientation(voxels, steps)
    return Volume(voxels, Grid(voxels.shape, affine @ turns.inv_ornt_aff(steps, (5, 6, 7))))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "ASL", "SAL", "RPI"])
def test_axes_become_ras_as_in_monais_orientation(codes):
    from monai.data import MetaTensor
    from monai.transforms import Orientation

    image = stored_as(codes)
    ready = preprocess(image, WIDE)
    expected = Orientation("RAS", labels=None)(MetaTensor(image.voxels[None].copy(), affine=image.grid.affine))
    assert torch.allclose(ready.image * 1000, expected[0].as_tensor().float(), atol=1e-3)
    assert np.allclose(ready.grid.affine, expected.affine)
    assert ready.image.flatten()[:3].tolist() == pytest.approx([0.0, 0.001, 0.002])  # the same for every storage
    assert ready.native is image.grid
    assert ready.ras_shape == ready.grid.shape == (5, 6, 7)


def test_body_is_found_and_table_and_air_are_cut_off():
    voxels = np.full((64, 64, 32), -1000, np.int16)
    voxels[20:44, 24:40] = 40
    voxels[8:56, 54:58] = 100
    assert body_box(voxels) == (slice(16, 48), slice(20, 44), slice(0, 32))


def test_second_leg_is_body_too():
    voxels = np.full((256, 128, 40), -1000, np.int16)
    voxels[20:100, 20:100] = 40
    voxels[140:210, 20:100] = 40
    voxels[8:248, 112:120] = 100
    assert body_box(voxels) == (slice(16, 216), slice(16, 104), slice(0, 40))


@pytest.mark.parametrize("convention", ["medseg", "monai"])
@pytest.mark.parametrize("spacing", [None, (5.0, 4.0, 3.0), (1.0, 12.0, None)])
@pytest.mark.parametrize("crop_to_body", [True, False])
def test_box_of_the_study_lies_between_the_network_voxels_that_decide_it(convention, spacing, crop_to_body):
    image, _ = make_phantom(3, 4, SMALL)  # oblique SAL
    ready = preprocess(image, Preprocessing(spacing, crop_to_body=crop_to_body, convention=convention))
    ras = reorient(image.voxels, image.grid.affine)[1]
    box = (slice(8, 21), slice(6, 17), slice(4, 12))
    corners = np.array([[b.start for b in box], [b.stop - 1 for b in box]])
    there = np.linalg.solve(ready.grid.affine, ras @ np.c_[corners, [1, 1]].T)[:3].T
    for part, first, last, length in zip(network_box(ready, box), *there, ready.grid.shape, strict=True):
        assert part.start <= max(first, 0) + 1e-6
        assert part.stop - 1 >= min(last, length - 1) - 1e-6
        assert part.start >= min(first, length - 1) - 1 - 1e-6 or part.start == length - 2  # and no more than needed
        assert part.stop <= max(last, 0) + 2 + 1e-6
        assert 0 <= part.start < part.stop <= length


def test_box_outside_the_crop_is_the_network_voxel_at_its_edge():
    voxels = np.full((40, 40, 40), -1000, np.int16)
    voxels[20:32, 20:32, 20:32] = 0
    ready = preprocess(Volume(voxels, Grid((40, 40, 40), np.eye(4))), Preprocessing())
    assert network_box(ready, (slice(0, 3), slice(38, 40), slice(0, 40))) == (
        slice(0, 2),
        slice(ready.grid.shape[1] - 2, ready.grid.shape[1]),
        slice(0, ready.grid.shape[2]),
    )


def test_label_lies_on_monais_grid_as_its_image_does():
    image, label = make_phantom(3, 1, SMALL)
    chain = Preprocessing((5.0, 4.0, 3.0), convention="monai")
    ready = preprocess(image, chain)
    classes = preprocess_label(label, ready, chain).numpy()
    assert classes.shape == ready.grid.shape
    positions = [
        grid.affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + grid.affine[:3, 3]
        for grid, mask in ((label.grid, label.voxels == 1), (ready.grid, classes == 1))
    ]
    assert positions[0] == pytest.approx(positions[1], abs=1.0)


def test_voxels_between_the_ones_looked_at_stay_inside_the_box():
    voxels = np.full((70, 70, 70), -1000, np.int16)
    voxels[21:44, 23:46, 30:33] = 0  # the coarse look sees 24..40 only
    for found, (first, last) in zip(body_box(voxels), ((21, 43), (23, 45), (30, 32)), strict=True):
        assert found.start < first
        assert found.stop > last + 1


@pytest.mark.parametrize("shape", [(40, 30, 20), (3, 2, 1)])
def test_study_of_air_keeps_its_whole_box(shape):
    ready = preprocess(Volume(np.full(shape, -1000, np.int16), Grid(shape, np.eye(4))), Preprocessing())
    assert ready.grid.shape == shape
    assert ready.image.max() == 0


def test_crop_moves_the_origin_with_the_voxels():
    voxels = np.full((64, 64, 64), -1000, np.int16)
    voxels[24:48, 24:48, 24:48] = 50
    voxels[30, 31, 32] = 250
    affine = np.diag([-0.5, -0.5, 2.0, 1.0])
    ready = preprocess(Volume(voxels, Grid(voxels.shape, affine)), Preprocessing(intensity_range_hu=(50, 250)))
    brightest = np.argwhere(ready.image.numpy() == 1.0)
    assert len(brightest) == 1
    assert np.allclose(ready.grid.affine @ [*brightest[0], 1], affine @ [30, 31, 32, 1])


@pytest.mark.parametrize(
    ("spacing_mm", "message"),
    [
        (
            1000.0,
            r"found 2.4e\+04 x 2e\+04 x 1.6e\+04 mm .* from 24x20x16 to 8000x6667x5333 voxels",
        ),
        (0.002, r"found 0.048 x 0.04 x 0.032 mm \(spacing 0.002 x .* to 1x1x1 voxels; repair the spacing"),
    ],
)
def test_spacing_that_no_body_has_is_refused_before_it_costs_memory(spacing_mm, message):
    image = Volume(np.zeros((24, 20, 16), np.int16), Grid((24, 20, 16), np.diag([spacing_mm] * 3 + [1.0])))
    with pytest.raises(GeometryError, match=message):
        preprocess(image, Preprocessing((3.0, 3.0, 3.0)))
    assert preprocess(image, Preprocessing()).grid.shape == (24, 20, 16)  # nothing is resampled, nothing grows


def test_window_clips_and_scales_to_one():
    voxels = np.array([-2000, -175, 37.5, 250, 3000], np.float32).reshape(5, 1, 1)
    ready = preprocess(Volume(voxels, Grid(voxels.shape, np.eye(4))), Preprocessing(crop_to_body=False))
    assert ready.image.flatten().tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("dtype", ["int16", "uint16", ">i2", "float32", "float64", ">f4", "uint8", "int32"])
@pytest.mark.parametrize("spacing", [None, (2.0, 1.0, 1.0)])
def test_number_types_of_files_give_one_result_and_stay_as_they_are(dtype, spacing):
    voxels = np.arange(240, dtype=np.int16).reshape(6, 5, 8)
    settings = Preprocessing(spacing, intensity_range_hu=(0, 200))
    expected = preprocess(Volume(voxels, Grid(voxels.shape, np.eye(4))), settings).image
    stored = voxels.astype(dtype)
    ready = preprocess(Volume(stored, Grid(voxels.shape, np.eye(4))), settings)
    assert torch.equal(ready.image, expected)
    assert ready.image.dtype == torch.float32
    assert np.array_equal(stored, voxels.astype(dtype))


def test_axis_without_a_spacing_keeps_its_voxels():
    image = stored_as("LPS")  # 1 x 2 x 3 mm
    ready = preprocess(image, Preprocessing((2.0, None, 1.5), (0.0, 1000.0), crop_to_body=False))
    assert ready.grid.shape == (2, 6, 14)
    assert ready.grid.spacing_mm == pytest.approx((2.5, 2.0, 1.5))


def test_label_lands_on_the_grid_of_its_image():
    image, label = make_phantom(3, 4, SMALL)  # oblique SAL
    settings = Preprocessing((6.0, 6.0, None))
    ready = preprocess(image, settings)
    classes = preprocess_label(label, ready, settings)
    assert classes.dtype == torch.uint8
    assert tuple(classes.shape) == ready.grid.shape == tuple(ready.image.shape)
    assert set(classes.unique().tolist()) <= {0, 1, 2}

    def centre_mm(mask, affine):
        return affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]

    liver = centre_mm(label.voxels > 0, label.grid.affine)
    assert np.linalg.norm(centre_mm(classes.numpy() > 0, ready.grid.affine) - liver) < 1.0
    assert orientation(ready.grid.affine) == "RAS"
