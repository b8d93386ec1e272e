"""Images in HU, labels as classes, and segmentations that come back on exactly the study's grid."""

import json
import logging

import nibabel
import numpy as np
import pytest

from medseg.errors import GeometryError, LabelError, StudyError
from medseg.study.geometry import require_same_grid
from medseg.study.nifti import (
    AIR_HU,
    read_fractions,
    read_grid,
    read_image,
    read_image_counted,
    read_labels,
    write_fractions,
    write_image,
    write_labels,
)
from medseg.types import Grid, LabelMap, Volume

VOXELS = np.arange(-12, 12).reshape(2, 3, 4)
LIVER = LabelMap({"liver": (1,)})
OBLIQUE = np.array([[-0.7, 0.1, 0.2, 90.5], [0.1, -0.7, 0.9, 80.25], [0.05, 0.2, 2.9, -300.125], [0, 0, 0, 1]])


def save(path, array, affine=OBLIQUE, slope=None, inter=0.0, kind=nibabel.Nifti1Image, **fields):
    header = kind.header_class()
    header.set_data_dtype(array.dtype)
    for name, value in fields.items():
        header[name] = value
    image = kind(array, affine, header)
    nibabel.save(image, path)
    if slope is not None:  # nibabel chooses its own scale factors; put ours into the file
        raw = bytearray(path.read_bytes())
        raw[112:120] = np.array([slope, inter], "<f4").tobytes()
        path.write_bytes(raw)
    return path


@pytest.mark.parametrize(("stored", "expected"), [("i2", "i2"), ("i1", "i2"), ("i4", "f4"), ("f4", "f4"), ("f8", "f4")])
def test_unscaled_voxels_are_int16_where_the_type_fits_else_float32(tmp_path, stored, expected):
    volume = read_image(save(tmp_path / "a.nii.gz", VOXELS.astype(stored)))
    assert volume.voxels.dtype == expected
    np.testing.assert_array_equal(volume.voxels, VOXELS)
    np.testing.assert_allclose(volume.grid.affine, OBLIQUE, rtol=1e-6)


@pytest.mark.parametrize(("slope", "inter"), [(0.0, 5.0), (np.nan, np.nan), (1.0, 0.0)])
def test_no_scaling_keeps_int16(tmp_path, slope, inter):
    volume = read_image(save(tmp_path / "a.nii", VOXELS.astype(np.int16), slope=slope, inter=inter))
    assert volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(volume.voxels, VOXELS)


@pytest.mark.parametrize("stored", ["i2", "u1", "i4", "f4"])
def test_scale_factors_are_applied(tmp_path, stored):
    array = np.abs(VOXELS).astype(stored)
    volume = read_image(save(tmp_path / "a.nii", array, slope=2.0, inter=-1024.0))
    assert volume.voxels.dtype == np.float32
    np.testing.assert_array_equal(volume.voxels, 2.0 * array - 1024.0)


def test_infinite_intercept_is_refused(tmp_path):
    with pytest.raises(StudyError, match="scl_inter"):
        read_image(save(tmp_path / "a.nii", VOXELS.astype(np.int16), slope=1.0, inter=np.inf))


@pytest.mark.parametrize("name", ["uint8_scl_slope", "neck_float32", "oblique_head"])
def test_real_odd_files_read_as_nibabel_reads_them(shared_data, name):
    path = shared_data / "odd" / f"{name}.nii.gz"
    volume, oracle = read_image(path), nibabel.load(path)
    np.testing.assert_array_equal(volume.grid.affine, oracle.affine)
    np.testing.assert_allclose(volume.voxels, oracle.get_fdata(dtype=np.float32), rtol=1e-6, atol=1e-4)
    assert read_grid(path).shape == oracle.shape


def test_not_finite_voxels_become_air_and_are_counted(tmp_path, caplog):
    array = np.zeros((2, 3, 4), np.float32)
    array[0, 0, 0], array[0, 0, 1], array[1, 2, 3] = np.nan, np.inf, -np.inf
    path = save(tmp_path / "named_after_a_patient.nii.gz", array)
    with caplog.at_level(logging.WARNING):
        volume = read_image(path, "s1")
    assert (volume.voxels == AIR_HU).sum() == 3
    assert np.isfinite(volume.voxels).all()
    assert "study s1: 3 of 24 voxels were NaN or infinite" in caplog.text
    assert "patient" not in caplog.text
    assert read_image_counted(path)[1] == 3


def test_image_without_a_finite_voxel_is_refused(tmp_path):
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(np.full((2, 3, 4), np.nan, np.float32), np.eye(4)), path)
    with pytest.raises(StudyError, match=r"study s1 .*: expected HU, found 24 voxels that all are NaN or infinite"):
        read_image(path, "s1")


def test_number_too_large_for_float32_counts_as_infinite(tmp_path):
    array = np.array([[[1e300, 1.0]]])
    assert read_image_counted(save(tmp_path / "a.nii", array))[1] == 1


def test_affine_comes_from_sform_then_qform_then_spacing(tmp_path):
    image = nibabel.Nifti1Image(VOXELS.astype(np.int16), None)
    qform, sform = np.diag([2.0, 2.0, 2.0, 1.0]), np.diag([3.0, 3.0, 3.0, 1.0])
    found = []
    for s_code, q_code in ((1, 1), (0, 1), (0, 0)):
        image.set_sform(sform, s_code)
        image.set_qform(qform, q_code)
        nibabel.save(image, tmp_path / "a.nii")
        grid = read_grid(tmp_path / "a.nii")
        np.testing.assert_array_equal(grid.affine, nibabel.load(tmp_path / "a.nii").affine)
        found.append((grid.affine[0, 0], grid.affine[0, 3]))
    assert found == [(3.0, 0.0), (2.0, 0.0), (-2.0, 1.0)]  # the last: spacing alone, x to the left, centred


def test_singular_affine_is_refused_with_the_file(tmp_path):
    path = save(tmp_path / "flat.nii", VOXELS.astype(np.int16))
    raw = bytearray(path.read_bytes())
    raw[280:328] = bytes(48)  # srow_x, srow_y, srow_z
    path.write_bytes(raw)
    with pytest.raises(GeometryError, match=r"study s9 \(.*flat\.nii\): the affine gives voxels no volume"):
        read_grid(path, "s9")


def test_float64_label_of_whole_numbers_is_accepted(shared_data):
    label_map = LabelMap({"liver": (5,)}, rest_is_background=True)
    volume = read_labels(shared_data / "organs_3mm" / "label.nii.gz", label_map)
    assert volume.voxels.dtype == np.uint8
    assert np.bincount(volume.voxels.ravel()).tolist() == [122 * 101 * 112 - 41602, 41602]


def test_label_that_names_more_than_the_pipeline_is_refused(shared_data):
    with pytest.raises(
        LabelError, match=r"study organs \(.*label\.nii\.gz\).*1 \(\d+ voxels\), 2 \(\d+ voxels\).*liver: \[5\]"
    ):
        read_labels(shared_data / "organs_3mm" / "label.nii.gz", LabelMap({"liver": (5,)}), "organs")


def test_label_of_another_grid_is_refused_with_the_numbers(shared_data):
    image = read_grid(shared_data / "odd" / "organs_30_slices_wrong_origin.nii.gz")
    label = read_grid(shared_data / "organs_3mm" / "label.nii.gz")
    with pytest.raises(GeometryError, match="found shapes 122x101x30 and 122x101x112"):
        require_same_grid(image, label, "image and label")


def test_fractional_label_is_refused(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.array([[[0, 0.5, 1.0]]], np.float32))
    with pytest.raises(LabelError, match=r"1 of 3 voxels with fractions such as 0\.5"):
        read_labels(path, LIVER)


def test_scaled_label_is_scaled_before_it_is_mapped(tmp_path):
    path = save(tmp_path / "a.nii", np.array([[[0, 85, 170]]], np.uint8), slope=1 / 85)
    assert read_labels(path, LabelMap({"liver": (1,), "tumour": (2,)})).voxels.tolist() == [[[0, 1, 2]]]


SEGMENTATION = (np.arange(24).reshape(2, 3, 4) % 3).astype(np.uint8)


@pytest.mark.parametrize("codes", [(0, 1), (1, 0), (2, 4), (0, 0)])
@pytest.mark.parametrize("units", [2, 10, 0, 3])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_segmentation_has_the_images_geometry_bit_for_bit(tmp_path, codes, units, kind):
    image = kind(VOXELS.astype(np.int16), None)
    image.set_sform(OBLIQUE, codes[0])
    image.set_qform(OBLIQUE, codes[1])
    image.header["xyzt_units"] = units
    nibabel.save(image, tmp_path / "in.nii.gz")
    write_labels(tmp_path / "out.nii.gz", SEGMENTATION, read_image(tmp_path / "in.nii.gz"))
    before, after = nibabel.load(tmp_path / "in.nii.gz"), nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asarray(after.dataobj), SEGMENTATION)
    assert after.get_data_dtype() == np.uint8
    assert after.shape == before.shape
    np.testing.assert_array_equal(after.affine, before.affine)
    for field in ("sform_code", "qform_code", "xyzt_units", "pixdim", "srow_x", "quatern_b", "qoffset_z", "dim"):
        np.testing.assert_array_equal(after.header[field], before.header[field], err_msg=field)


@pytest.mark.parametrize("name", ["uint8_scl_slope", "neck_float32", "oblique_head"])
def test_segmentation_of_real_odd_files_keeps_their_geometry(shared_data, tmp_path, name):
    path = shared_data / "odd" / f"{name}.nii.gz"
    header = nibabel.load(path).header
    grid = read_grid(path)
    write_labels(tmp_path / "out.nii.gz", np.zeros(grid.shape, np.uint8), grid, header)
    after = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(after.affine, nibabel.load(path).affine)
    for field in ("sform_code", "qform_code", "xyzt_units", "pixdim"):
        np.testing.assert_array_equal(after.header[field], header[field])


def test_big_endian_scaled_image_gives_an_unscaled_segmentation(tmp_path):
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.save(nibabel.Nifti1Image(VOXELS.astype(">i2"), OBLIQUE, header), tmp_path / "in.nii")
    image = read_image(tmp_path / "in.nii")
    image.header["cal_max"] = 400
    write_labels(tmp_path / "out.nii", SEGMENTATION, image)
    raw = (tmp_path / "out.nii").read_bytes()
    assert np.frombuffer(raw[112:120], "<f4").tolist() == [1.0, 0.0]
    assert nibabel.load(tmp_path / "out.nii").header["cal_max"] == 0
    assert image.header["cal_max"] == 400  # the image's own header is not touched
    np.testing.assert_array_equal(
        read_labels(tmp_path / "out.nii", LabelMap({"a": (1,), "b": (2,)})).voxels, SEGMENTATION
    )


def test_trailing_axis_of_the_file_comes_back(tmp_path):
    path = save(tmp_path / "in.nii.gz", VOXELS[..., None].astype(np.int16))
    image = read_image(path)
    assert image.voxels.shape == (2, 3, 4)
    write_labels(tmp_path / "out.nii.gz", SEGMENTATION, image)
    assert nibabel.load(tmp_path / "out.nii.gz").shape == (2, 3, 4, 1)


def test_free_text_of_the_image_is_not_copied(tmp_path):
    secret = b"DOE^JANE"
    fields = dict.fromkeys(("descrip", "db_name", "aux_file", "data_type", "intent_name"), secret)
    path = save(tmp_path / "in.nii", VOXELS.astype(np.int16), **fields)
    image = read_image(path)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", secret))
    write_labels(tmp_path / "out.nii", SEGMENTATION, image)
    raw = (tmp_path / "out.nii").read_bytes()
    assert secret in path.read_bytes()
    assert secret not in raw
    assert nibabel.load(tmp_path / "out.nii").header["descrip"] == b"medseg"


def test_grid_made_in_memory_gets_a_new_header(tmp_path):
    grid = Grid((2, 3, 4), OBLIQUE)
    write_image(tmp_path / "out.nii.gz", VOXELS.astype(np.float32), Volume(VOXELS, grid))
    after = nibabel.load(tmp_path / "out.nii.gz")
    assert (int(after.header["sform_code"]), int(after.header["qform_code"])) == (1, 0)
    assert after.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(after.affine, OBLIQUE, rtol=1e-6)
    np.testing.assert_allclose(after.header.get_zooms(), grid.spacing_mm, rtol=1e-6)
    np.testing.assert_array_equal(after.get_fdata(), VOXELS)


def test_image_longer_than_nifti1_allows_becomes_nifti2(tmp_path):
    voxels = np.zeros((40000, 1, 1), np.int16)
    write_image(tmp_path / "a.nii.gz", voxels, Grid(voxels.shape, np.eye(4)))
    assert isinstance(nibabel.load(tmp_path / "a.nii.gz"), nibabel.Nifti2Image)
    assert read_image(tmp_path / "a.nii.gz").voxels.shape == (40000, 1, 1)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_image_written_and_read_is_the_same(tmp_path, dtype):
    write_image(tmp_path / "a.nii.gz", VOXELS.astype(dtype), Grid((2, 3, 4), OBLIQUE))
    back = read_image(tmp_path / "a.nii.gz").voxels
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, VOXELS)


def test_wrong_dtypes_are_refused(tmp_path):
    grid = Grid((2, 3, 4), OBLIQUE)
    with pytest.raises(TypeError, match="expected uint8 class indices, found int64"):
        write_labels(tmp_path / "a.nii", VOXELS, grid)
    with pytest.raises(TypeError, match="int16 or float32"):
        write_image(tmp_path / "a.nii", VOXELS, grid)


def test_array_of_another_shape_is_refused(tmp_path):
    with pytest.raises(GeometryError, match="expected an array of the grid's shape"):
        write_labels(tmp_path / "a.nii", SEGMENTATION[1:], Grid((2, 3, 4), OBLIQUE))


@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
def test_names_of_the_labels_go_into_the_file(tmp_path, name):
    import SimpleITK

    image = read_image(save(tmp_path / "in.nii", VOXELS.astype(np.int16), np.diag([2.0, 2.0, 3.0, 1.0]), qform_code=1))
    names = ["liver", "Lebertumor \u2265 1 cm"]
    write_labels(tmp_path / name, SEGMENTATION, image, names=names)
    back = nibabel.load(tmp_path / name)
    (comment,) = back.header.extensions
    assert comment.get_code() == 6
    assert json.loads(comment.content) == {"labels": {"1": names[0], "2": names[1]}}
    np.testing.assert_array_equal(np.asarray(back.dataobj), SEGMENTATION)
    itk = SimpleITK.ReadImage(str(tmp_path / name))
    assert itk.GetPixelID() == SimpleITK.sitkUInt8
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(itk).T, SEGMENTATION)
    ours = read_labels(tmp_path / name, LabelMap({"liver": (1,), "tumour": (2,)}))
    np.testing.assert_array_equal(ours.voxels, SEGMENTATION)
    np.testing.assert_array_equal(ours.grid.affine, image.grid.affine)


def test_equal_names_give_equal_bytes_and_no_names_no_extension(tmp_path):
    grid = Grid((2, 3, 4), OBLIQUE)
    for name, names in (("a", ["liver"]), ("b", ["liver"]), ("c", []), ("d", None)):
        write_labels(tmp_path / f"{name}.nii.gz", SEGMENTATION, grid, names=names)
    files = {name: (tmp_path / f"{name}.nii.gz").read_bytes() for name in "abcd"}
    assert files["a"] == files["b"] != files["c"] == files["d"]
    assert not nibabel.load(tmp_path / "c.nii.gz").header.extensions


def test_fractions_are_read_as_0_to_1(tmp_path):
    import SimpleITK

    fractions = np.array([0, 51, 255], np.uint8).reshape(1, 1, 3)
    write_fractions(tmp_path / "a.nii.gz", fractions, Grid((1, 1, 3), np.eye(4)))
    assert read_fractions(tmp_path / "a.nii.gz").tolist() == fractions.tolist()
    back = nibabel.load(tmp_path / "a.nii.gz")
    assert back.get_data_dtype() == np.uint8
    for values in (
        back.get_fdata(),
        read_image(tmp_path / "a.nii.gz").voxels,
        SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))),
    ):
        np.testing.assert_allclose(values.ravel(), [0.0, 0.2, 1.0], rtol=1e-6)
        assert values.max() <= 1.0
    with pytest.raises(TypeError, match="expected uint8 fractions of 255, found float64"):
        write_fractions(tmp_path / "a.nii.gz", fractions / 255, Grid((1, 1, 3), np.eye(4)))
    write_image(tmp_path / "b.nii.gz", np.zeros((1, 1, 3), np.int16), Grid((1, 1, 3), np.eye(4)))
    with pytest.raises(TypeError, match="expected uint8 fractions of 255, found int16"):
        read_fractions(tmp_path / "b.nii.gz")


def test_header_of_another_grid_is_refused(tmp_path):
    image = read_image(save(tmp_path / "a.nii", VOXELS.astype(np.int16)))
    with pytest.raises(GeometryError, match="the header and the grid to write on"):
        write_labels(tmp_path / "out.nii", SEGMENTATION, Grid((2, 3, 4), np.eye(4)), image.header)
    assert not (tmp_path / "out.nii").exists()
