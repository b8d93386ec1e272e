from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from medseg.errors import GeometryError
from medseg.reports.figures import overlay
from medseg.study.geometry import reorient
from medseg.types import Grid, Volume

SIDE = 16  # voxels of 10 mm: smaller than the least extent of a view, so everything is shown and panels are square


def cube() -> np.ndarray:
    return np.zeros((SIDE, SIDE, SIDE), dtype=np.uint8)


def organ(shift: int = 0, label: int = 1) -> np.ndarray:
    voxels = cube()
    voxels[5 + shift : 11 + shift, 5:11, 5:11] = label
    return voxels


def volume(voxels: np.ndarray, affine: np.ndarray | None = None) -> Volume:
    return Volume(voxels, Grid(voxels.shape, np.diag([10.0, 10.0, 10.0, 1.0]) if affine is None else affine))


def draw(path: Path, image, reference, segmentation, names=("liver",), affine=None) -> np.ndarray:
    """RGB of the three panels: (3, rows, columns, 3), without title and legend."""
    overlay(
        volume(image, affine),
        None if reference is None else volume(reference, affine),
        volume(segmentation, affine),
        names,
        intensity_range_hu=(-100, 100),
        title="study",
        path=path,
    )
    picture = imread(path)[70:-60, :, :3]
    edge = picture.shape[1] // 3
    return np.stack([picture[:, i * edge : (i + 1) * edge] for i in range(3)])


def flat_image() -> np.ndarray:
    return np.full((SIDE,) * 3, -100, dtype=np.int16)


def count(panel: np.ndarray, colour: str) -> int:
    channel = ["red", "green", "blue"].index(colour)
    others = [c for c in range(3) if c != channel]
    return int(np.sum((panel[..., channel] > 0.4) & (panel[..., others].max(axis=-1) < 0.35)))


@pytest.mark.parametrize(
    ("axis", "places"),
    [
        (0, {"axial": "left", "coronal": "left"}),
        (1, {"axial": "top", "sagittal": "left"}),
        (2, {"coronal": "top", "sagittal": "top"}),
    ],
    ids=["the patient's right is left", "anterior is up or left", "superior is up"],
)
def test_panels_are_in_radiological_orientation(tmp_path, axis, places):
    image = flat_image()
    np.moveaxis(image, axis, 0)[SIDE // 2 :] = 100  # the half towards R, A or S is bright
    panels = dict(zip(("axial", "coronal", "sagittal"), draw(tmp_path / "x.png", image, None, cube()), strict=True))
    for name, place in places.items():
        rows, columns = (size // 2 for size in panels[name].shape[:2])
        half = panels[name][:, :columns] if place == "left" else panels[name][:rows]
        assert half.mean() > 0.85
        assert panels[name].mean() < 0.65


def test_the_picture_does_not_depend_on_the_axis_order_of_the_file(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(-100, 100, (SIDE, SIDE - 2, SIDE - 4)).astype(np.int16)
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([10.0, 10.0, 12.0])
    stored = np.eye(4)[[2, 0, 1, 3]] @ np.diag([-1.0, 1.0, -1.0, 1.0])  # other axes, two of them backwards
    reference, segmentation = organ()[:, : SIDE - 2, : SIDE - 4], organ(2)[:, : SIDE - 2, : SIDE - 4]
    old_from_new = np.linalg.inv(stored) @ reorient(image, stored)[1]
    reordered = (reorient(array, stored)[0] for array in (image, reference, segmentation))
    draw(tmp_path / "ras.png", image, reference, segmentation, affine=affine)
    draw(tmp_path / "other.png", *reordered, affine=affine @ old_from_new)
    assert (tmp_path / "ras.png").read_bytes() == (tmp_path / "other.png").read_bytes()


def test_missed_is_red_and_extra_is_blue_and_nothing_is_tinted_where_both_agree(tmp_path):
    axial = draw(tmp_path / "missed.png", flat_image(), organ(), cube())[0]
    assert count(axial, "red") > 1000 > count(axial, "blue")
    axial = draw(tmp_path / "extra.png", flat_image(), cube(), organ())[0]
    assert count(axial, "blue") > 1000 > count(axial, "red")
    axial = draw(tmp_path / "same.png", flat_image(), organ(), organ())[0]
    assert count(axial, "blue") == count(axial, "red") == 0
    assert count(axial, "green") > 100  # the contour


def test_another_label_has_its_own_tint_and_ignored_voxels_have_none(tmp_path):
    axial = draw(tmp_path / "other.png", flat_image(), organ(), organ(label=2), ("liver", "tumour"))[0]
    orange = (axial[..., 0] > 0.4) & (abs(axial[..., 1] - axial[..., 0] / 2) < 0.1) & (axial[..., 2] < 0.1)
    assert orange.sum() > 1000
    ignored = np.where(organ() == 1, np.uint8(255), np.uint8(0))
    axial = draw(tmp_path / "ignored.png", flat_image(), ignored, organ())[0]
    assert count(axial, "blue") == count(axial, "red") == 0


def test_each_view_shows_the_slice_with_the_largest_error(tmp_path):
    reference, segmentation = organ(), organ()
    segmentation[:, :, 9] = 0  # one axial slice is missed
    image = flat_image()
    image[..., 9] = 100
    axial = draw(tmp_path / "x.png", image, reference, segmentation)[0]
    assert np.median(axial) == 1.0


@pytest.mark.parametrize("shape", [(6, 5, 1), (1, 1, 1), (3, 4, 300)])
def test_thin_studies_are_drawn_too(tmp_path, shape):
    labels = np.ones(shape, dtype=np.uint8)
    draw(tmp_path / "x.png", np.zeros(shape, np.int16), labels, labels)
    assert imread(tmp_path / "x.png").shape[1] > 700


def test_volumes_on_other_grids_are_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(GeometryError, match="study: image and segmentation"):
        overlay(
            volume(flat_image()),
            None,
            volume(cube()[1:]),
            ("liver",),
            intensity_range_hu=(0, 1),
            title="study",
            path=tmp_path / "x.png",
        )
    assert not list(tmp_path.iterdir())
