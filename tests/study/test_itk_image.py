"""NRRD and MetaImage: voxels and places as NIfTI would have them, and no damage passes."""

import logging

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import GeometryError, StudyError
from medseg.study.itk_image import SUFFIXES, data_file, read_itk_image
from medseg.study.nifti import read_image

VOXELS = np.arange(-60, 60, dtype=np.int16).reshape(6, 5, 4)  # (K, J, I)
TURNED = (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1)
NOISE = np.random.default_rng(0).integers(-1000, 1000, (12, 20, 16)).astype(np.int16)


def save(path, array=VOXELS, *, compressed=False, vector=False):
    image = sitk.GetImageFromArray(array, isVector=vector)
    if image.GetDimension() == 3:
        image.SetSpacing((0.5, 0.75, 3))
        image.SetOrigin((10, -20, 30))
        image.SetDirection(TURNED)
    sitk.WriteImage(image, str(path), useCompression=compressed)
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_what_nifti_gives(tmp_path, suffix, compressed):
    volume = read_itk_image(save(tmp_path / f"a{suffix}", compressed=compressed))
    assert volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(volume.voxels, VOXELS.T)
    expected = [[-0.4, 0.45, 0, -10], [-0.3, -0.6, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.grid.affine, expected, atol=1e-9)
    assert (volume.header, volume.source) == (None, None)
    nifti = read_image(save(tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(volume.voxels, nifti.voxels)
    np.testing.assert_allclose(volume.grid.affine, nifti.grid.affine, atol=1e-5)


@pytest.mark.parametrize(("stored", "expected"), [("u1", "i2"), ("u2", "f4"), ("i4", "f4"), ("f4", "f4"), ("f8", "f4")])
def test_types_follow_the_rule_of_nifti(tmp_path, stored, expected):
    volume = read_itk_image(save(tmp_path / "a.nrrd", np.abs(VOXELS).astype(stored)))
    assert volume.voxels.dtype == expected
    np.testing.assert_array_equal(volume.voxels, np.abs(VOXELS).T)


def test_what_is_no_number_becomes_air_and_is_counted(tmp_path, caplog):
    array = VOXELS.astype(np.float32)
    array[0, 0, 0], array[1, 2, 3] = np.nan, np.inf
    with caplog.at_level(logging.WARNING):
        volume = read_itk_image(save(tmp_path / "a.mha", array), "s1")
    assert (volume.voxels[0, 0, 0], volume.voxels[3, 2, 1]) == (-1024, -1024)
    assert "study s1: 2 of 120 voxels were NaN or infinite" in caplog.text


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_trailing_axis_of_one_is_dropped(tmp_path, suffix):
    volume = read_itk_image(save(tmp_path / f"a{suffix}", VOXELS[None]))
    assert volume.grid.shape == (4, 5, 6)
    np.testing.assert_array_equal(volume.grid.affine, np.diag([-1, -1, 1, 1]))


@pytest.mark.parametrize(
    ("array", "vector", "words"),
    [
        (np.zeros((3, 4, 5, 2), np.int16), False, r"expected one 3D volume, found shape \(2, 5, 4, 3\)"),
        (np.zeros((4, 5), np.int16), False, r"expected one 3D volume, found shape \(5, 4\)"),
        (np.zeros((3, 4, 5, 3), np.uint8), True, "expected one number a voxel, found 3"),
    ],
    ids=["4D", "2D", "RGB"],
)
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_what_is_no_volume_of_numbers_is_refused(tmp_path, suffix, array, vector, words):
    with pytest.raises(StudyError, match=words):
        read_itk_image(save(tmp_path / f"a{suffix}", array, vector=vector), "s1")


def test_complex_numbers_are_refused(tmp_path):
    with pytest.raises(StudyError, match="expected one number a voxel"):
        read_itk_image(save(tmp_path / "a.nrrd", VOXELS.astype(np.complex64)))


@pytest.mark.parametrize("cut", [10, 400, 5000])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_short_is_refused(tmp_path, suffix, compressed, cut):
    path = save(tmp_path / f"a{suffix}", NOISE, compressed=compressed)
    voxels = data_file(path) or path
    voxels.write_bytes(voxels.read_bytes()[:-cut])
    with pytest.raises(StudyError, match=r"study s1 .*damaged or cut short"):
        read_itk_image(path, "s1")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_flipped_bits_of_a_compressed_stream_are_seen(tmp_path, suffix):
    """ITK returns whatever a damaged MetaImage stream inflates to."""
    path = save(tmp_path / f"a{suffix}", NOISE, compressed=True)
    voxels = data_file(path) or path
    whole = voxels.read_bytes()
    for place in (len(whole) // 2, len(whole) * 3 // 4, len(whole) - 6):
        voxels.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with pytest.raises(StudyError, match="damaged"):
            read_itk_image(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_claimed_size_is_compared_with_the_file_before_room_is_made(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}")
    path.write_bytes(path.read_bytes().replace(b"4 5 6", b"40000 50000 6"))
    with pytest.raises(StudyError, match="damaged or cut short"):
        read_itk_image(path)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_voxels_outside_the_folder_or_missing_are_refused(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}")
    text = path.read_text()
    path.write_text(text.replace("a.raw", "../a.raw"))
    with pytest.raises(StudyError, match="its voxels lie outside its folder"):
        read_itk_image(path)
    path.write_text(text.replace("a.raw", "b.raw"))
    with pytest.raises(StudyError, match=r"its voxels' file 'b.raw' is missing"):
        read_itk_image(path)


def test_flattened_directions_are_refused(tmp_path):
    path = save(tmp_path / "a.nhdr")
    text = path.read_text()
    start = text.index("space directions:")
    path.write_text(text[:start] + "space directions: (1,0,0) (1,0,0) (0,0,1)" + text[text.index("\n", start) :])
    with pytest.raises((GeometryError, StudyError), match=r"no volume|damaged"):
        read_itk_image(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), (b"", r"empty \(0 bytes\)"), (b"hello\n" * 9, "damaged or cut short")],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_no_image_is_refused(tmp_path, suffix, content, words):
    path = tmp_path / f"a{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StudyError, match=words):
        read_itk_image(path, "s1")


def test_real_label_lies_on_the_grid_of_its_series(shared_data):
    from medseg.study.dicom.read import read_series
    from medseg.study.geometry import corner_distance_mm

    label = read_itk_image(shared_data / "dicom" / "ge_3_liver_label.nrrd")
    image = read_series(shared_data / "dicom" / "ge_3")
    assert corner_distance_mm(image.grid, label.grid) < 0.01
    assert np.count_nonzero(label.voxels) == 107098
    assert 0 < image.voxels[label.voxels > 0].mean() < 200


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("suffix", "sizes"), [(".nrrd", b"sizes: 4 5 %d"), (".mha", b"DimSize = 4 5 %d")])
def test_more_voxels_than_the_header_says_are_refused_as_fewer_are(tmp_path, suffix, sizes, compressed):
    path = save(tmp_path / f"a{suffix}", compressed=compressed)
    whole = path.read_bytes()
    assert sizes % 6 in whole
    for count, message in ((5, "goes on behind the last voxel"), (7, "found 240 of 280 bytes")):
        path.write_bytes(whole.replace(sizes % 6, sizes % count))
        with pytest.raises(StudyError, match=message):
            read_itk_image(path)


def test_image_without_a_finite_voxel_is_refused(tmp_path):
    with pytest.raises(StudyError, match="120 voxels that all are NaN or infinite"):
        read_itk_image(save(tmp_path / "a.nrrd", np.full(VOXELS.shape, np.nan, np.float32)))
