"""Ranges that settings refuse, wherever they come from."""

import pytest

from medseg.transforms.settings import Preprocessing


@pytest.mark.parametrize(
    "wrong",
    [
        {"intensity_range_hu": (5, 5)},
        {"intensity_range_hu": (9, 5)},
        {"spacing_mm": (1, 0, 1)},
        {"spacing_mm": (1, 1)},
        {"convention": "itk"},
        {"spacing": (1, 1, 1)},
    ],
    ids=str,
)
def test_preprocessing_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Preprocessing(**wrong)


def test_an_axis_may_keep_the_studys_spacing():
    assert Preprocessing(spacing_mm=[1.5, None, 3]).spacing_mm == (1.5, None, 3.0)
