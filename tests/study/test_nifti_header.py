"""A header is understood or refused; nothing that places voxels is repaired behind the user's back."""

import logging

import nibabel
import numpy as np
import pytest

from medseg.errors import GeometryError, StudyError
from medseg.study.nifti_header import parse_header

AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])


def block(kind=nibabel.Nifti1Image, shape=(5, 6, 7), **fields):
    image = kind(np.zeros(shape, np.int16), AFFINE)
    raw = image.header.structarr.copy()
    raw["magic"], raw["vox_offset"] = image.header.single_magic, image.header.single_vox_offset
    for name, value in fields.items():
        raw[name] = value
    return raw.tobytes().ljust(540, b"\0")


def spacing(i=2.0, j=3.0, k=4.0, qfac=1.0):
    return [qfac, i, j, k, 0, 0, 0, 0]


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_whole_header_is_read(kind):
    header = parse_header(block(kind), "x")
    assert header.get_data_shape() == (5, 6, 7)
    np.testing.assert_array_equal(header.get_best_affine(), AFFINE)


@pytest.mark.parametrize("offset", [np.nan, np.inf, -np.inf, 1e9, -1e30])
def test_voxels_that_begin_nowhere_are_refused(offset):
    with pytest.raises(StudyError, match=r"^x: broken NIfTI header \(its voxels begin at byte"):
        parse_header(block(vox_offset=offset), "x")


def test_voxels_that_begin_in_the_header_are_refused():
    with pytest.raises(StudyError, match=r"x: broken NIfTI header .*138 too low"):
        parse_header(block(vox_offset=138), "x")


@pytest.mark.parametrize(("name", "code"), [("sform_code", 22530), ("qform_code", -1), ("sform_code", 6)])
def test_unknown_code_is_refused_and_not_taken_for_none(name, code):
    with pytest.raises(GeometryError, match=f"x: expected a code from 0 to 5, found {name} {code}"):
        parse_header(block(**{name: code}), "x")


@pytest.mark.parametrize("qform_code", [0, 1])
@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_missing_spacing_is_refused_and_not_taken_for_1_mm(qform_code, value):
    with pytest.raises(GeometryError, match=r"x: expected spacings in mm, found 2 x (0|nan|inf) x 4"):
        parse_header(block(sform_code=0, qform_code=qform_code, pixdim=spacing(j=value)), "x")


def test_spacing_does_not_matter_where_the_sform_places_the_voxels():
    header = parse_header(block(pixdim=spacing(j=0.0)), "x")
    np.testing.assert_array_equal(header.get_best_affine(), AFFINE)


def test_thickness_of_a_single_slice_may_be_missing():
    header = parse_header(block(shape=(5, 6, 1), sform_code=0, pixdim=spacing(k=0.0)), "x")
    assert np.linalg.norm(header.get_best_affine()[:3, 2]) == 1.0


def test_mirror_sign_that_is_none_is_refused():
    with pytest.raises(GeometryError, match=r"x: expected pixdim\[0\] to be -1 or 1, found 5"):
        parse_header(block(sform_code=0, qform_code=1, pixdim=spacing(qfac=5.0)), "x")
    assert parse_header(block(sform_code=0, qform_code=1, pixdim=spacing(qfac=0.0)), "x").get_best_affine()[2, 2] == 4


def test_harmless_repairs_are_silent(capfd, caplog):
    with caplog.at_level(logging.DEBUG):
        parse_header(block(bitpix=99, pixdim=spacing(j=0.0)), "x")
    assert (*capfd.readouterr(), caplog.text) == ("", "", "")
