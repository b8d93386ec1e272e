from dataclasses import replace
from itertools import pairwise

import nibabel as nib
import numpy as np
import pytest

from medseg.phantom.make import DEMO, SMALL, PhantomOptions, make_phantom, write_phantoms
from medseg.study.manifest import read_manifest
from medseg.study.nifti import read_image, read_labels
from medseg.types import LabelMap, Volume

TINY = PhantomOptions(field_of_view_mm=(60, 51, 48), tumours=1)
"""A doll: clinical voxels, quickly drawn."""

Pair = tuple[Volume, Volume]


@pytest.fixture(scope="module")
def studies() -> list[Pair]:
    return [make_phantom(3, index, SMALL) for index in range(10)]


def in_ras(volume: Volume) -> np.ndarray:
    return np.asarray(nib.as_closest_canonical(nib.Nifti1Image(volume.voxels, volume.grid.affine)).dataobj)


def test_image_and_label_share_types_and_grid(studies):
    for image, label in studies:
        assert (image.voxels.dtype, label.voxels.dtype) == (np.int16, np.uint8)
        assert image.voxels.shape == label.voxels.shape == image.grid.shape
        np.testing.assert_array_equal(image.grid.affine, label.grid.affine)
        assert -1024 <= image.voxels.min() < image.voxels.max() <= 3071
        assert sorted(image.voxels.shape) == pytest.approx([32, 40, 48], abs=3)


def test_tissues_have_their_attenuation(studies):
    for image, label in studies:
        hu, classes = in_ras(image), in_ras(label)
        corner, liver = hu[:3, -3:, :], np.median(hu[classes == 1])
        assert np.median(corner) == pytest.approx(-1000, abs=15), "air"
        assert 35 <= liver <= 145, "liver"
        assert ((hu > -180) & (hu < -50)).mean() > 0.05, "fat"
        assert ((hu > -950) & (hu < -750)).mean() > 0.03, "lung"
        assert (hu > 180).mean() > 0.002, "bone"
        if (classes == 2).any():
            assert np.median(hu[classes == 2]) < liver - 10, "tumour"


def test_patient_lies_in_ras(studies):
    for image, label in studies:
        hu, liver = in_ras(image), in_ras(label) > 0
        sides, _, heights = np.nonzero(liver)
        assert sides.mean() > liver.shape[0] * 0.53, "liver on the right"
        assert (hu[..., -5:] < -700).mean() > (hu[..., :5] < -700).mean() + 0.1, "lungs on top"
        assert 0 < heights.min() < heights.max() < liver.shape[2] - 1, "the whole liver is seen"


def test_tumours_lie_wholly_in_the_liver(studies):
    from scipy.ndimage import binary_dilation

    for _, label in studies:
        around = binary_dilation(label.voxels == 2) & (label.voxels != 2)
        assert (label.voxels[around] == 1).mean() > 0.97 if around.any() else True


def test_one_study_in_five_has_no_tumour(studies):
    assert [bool((label.voxels == 2).any()) for _, label in studies] == [True, True, False, True, True] * 2


def test_tumour_has_the_volume_of_the_ball_asked_for():
    options = replace(SMALL, spacing_mm=(2, 2), slice_spacing_mm=(2, 2), tumours=1, tumour_diameter_mm=(24, 24))
    _, label = make_phantom(1, 0, options)
    assert (label.voxels == 2).sum() * label.grid.voxel_ml == pytest.approx(np.pi / 6 * 2.4**3, rel=0.1)


def test_same_seed_and_index_give_the_same_study(studies):
    again = make_phantom(3, 4, SMALL)
    for volume, before in zip(again, studies[4], strict=True):
        np.testing.assert_array_equal(volume.voxels, before.voxels)
        np.testing.assert_array_equal(volume.grid.affine, before.grid.affine)
        assert volume.header.binaryblock == before.header.binaryblock


def test_other_seed_or_index_gives_another_study(studies):
    first = [image.voxels for image, _ in [*studies, make_phantom(4, 0, SMALL)]]
    assert not any(a.shape == b.shape and np.array_equal(a, b) for a, b in pairwise(first))


def test_spacing_orientation_and_origin_vary_as_in_clinics():
    grids = [make_phantom(0, index, TINY)[0].grid for index in range(16)]
    spacings = np.sort([grid.spacing_mm for grid in grids], axis=1)
    assert 0.599 <= spacings[:, 0].min() < spacings[:, 1].max() <= 0.901
    assert 0.999 <= spacings[:, 2].min() < spacings[:, 2].max() <= 5.001
    assert np.ptp(spacings[:, 0]) > 0.15
    assert np.ptp(spacings[:, 2]) > 2
    assert len({nib.aff2axcodes(grid.affine) for grid in grids}) >= 4
    assert len({tuple(grid.affine[:3, 3].round()) for grid in grids}) == 16
    oblique = sum((np.abs(grid.affine[:3, :3]) > 1e-4).sum() > 3 for grid in grids)
    assert 1 <= oblique <= 9


def test_header_codes_and_units_are_those_of_a_scan():
    headers = [make_phantom(0, index, TINY)[0].header for index in range(6)]
    assert {int(h["qform_code"]) for h in headers} == {int(h["sform_code"]) for h in headers} == {1, 2}
    assert {h.get_xyzt_units()[0] for h in headers} == {"mm"}


def test_written_studies_are_read_back_as_they_were_made(tmp_path):
    manifest = write_phantoms(tmp_path / "p", 4, seed=3, options=SMALL)
    studies = read_manifest(manifest, tmp_path / "p")
    assert [study.study_id for study in studies] == [f"phantom_{index:03d}" for index in range(4)]
    for index, study in enumerate(studies):
        image, label = make_phantom(3, index, SMALL)
        read = read_image(study.image), read_labels(study.label, LabelMap({"liver": (1,), "tumour": (2,)}))
        for found, made in zip(read, (image, label), strict=True):
            np.testing.assert_array_equal(found.voxels, made.voxels)
            np.testing.assert_array_equal(found.grid.affine, made.grid.affine)


@pytest.mark.parametrize(
    ("studies", "test_share", "folds"),
    [
        (3, 0.25, ["0", "1", "2"]),
        (4, 0.25, ["0", "1", "2", "test"]),
        (8, 0.25, ["0", "1", "2", "3", "4", "0", "test", "test"]),
        (4, 0.0, ["0", "1", "2", "3"]),
    ],
)
def test_last_studies_are_the_test_set(tmp_path, studies, test_share, folds):
    coarse = replace(SMALL, spacing_mm=(10, 10), slice_spacing_mm=(10, 10), tumours=0)
    manifest = write_phantoms(tmp_path, studies, test_share=test_share, options=coarse)
    assert [study.fold for study in read_manifest(manifest, tmp_path)] == folds


@pytest.mark.parametrize(("studies", "test_share"), [(0, 0.25), (3, 1.0), (3, -0.1)])
def test_impossible_requests_are_refused(tmp_path, studies, test_share):
    with pytest.raises(ValueError, match=f"found {studies} and {test_share}"):
        write_phantoms(tmp_path, studies, test_share=test_share)


@pytest.mark.parametrize("wrong", [{"spacing_mm": (0.9, 0.6)}, {"field_of_view_mm": (0, 1, 1)}, {"tumours": 21}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        replace(DEMO, **wrong)
