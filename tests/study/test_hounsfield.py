"""One rule for stored numbers, whatever file they came from."""

import logging

import numpy as np
import pytest

from medseg.errors import StudyError
from medseg.study.hounsfield import AIR_HU, in_hu, require_some_finite, warn_of_air


@pytest.mark.parametrize(("stored", "expected"), [("u1", "i2"), ("i2", "i2"), ("u2", "f4"), ("i4", "f4"), ("f8", "f4")])
def test_integers_that_fit_become_int16_all_else_float32(stored, expected):
    voxels, bad = in_hu(np.array([0, 1, 2]).astype(stored))
    assert (voxels.dtype, bad, voxels.tolist()) == (np.dtype(expected), 0, [0, 1, 2])


def test_scaling_is_done_before_precision_is_lost():
    stored = np.array([2**30 + 1, 2**30 + 2], np.int32)
    assert in_hu(stored, 1.0, -(2.0**30))[0].tolist() == [1.0, 2.0]


def test_what_is_no_number_becomes_air_and_is_counted():
    voxels, bad = in_hu(np.array([np.nan, 40.0, np.inf, 1e39]))
    assert (voxels.tolist(), bad) == ([AIR_HU, 40.0, AIR_HU, AIR_HU], 3)


def test_air_is_told_with_its_numbers_and_only_where_there_is_some(caplog):
    with caplog.at_level(logging.WARNING):
        warn_of_air(0, 8, "s1")
        warn_of_air(3, 8, "s1")
    assert [r.getMessage() for r in caplog.records] == [
        "study s1: 3 of 8 voxels were NaN or infinite and became air (-1024 HU)"
    ]


def test_image_without_a_finite_voxel_is_refused():
    assert require_some_finite(2, 3, "x") is None
    with pytest.raises(StudyError, match="x: expected HU, found 3 voxels that all are NaN or infinite"):
        require_some_finite(3, 3, "x")
