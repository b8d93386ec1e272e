"""Ranges that settings refuse, wherever they come from."""

from dataclasses import asdict

import pytest

from medseg.transforms.settings import Augmentation, Flip, Gamma, Preprocessing


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


def test_nothing_is_augmented_unless_asked():
    assert set(asdict(Augmentation()).values()) == {None}


def test_an_empty_section_has_its_own_defaults():
    assert Augmentation(flip={}, gamma={}) == Augmentation(flip=Flip(0.5, ("R",)), gamma=Gamma(0.2, (0.7, 1.5)))


@pytest.mark.parametrize(
    ("section", "settings"),
    [
        ("flip", {"axes": ["X"]}),
        ("flip", {"probability": 1.5}),
        ("rotate", {"degrees": -1}),
        ("elastic", {"control_points": 1}),
        ("truncate", {"share": [0.5, 1.5]}),
        ("contrast", {"factor": [2, 1]}),
        ("noise", {"stdd": 1}),
        ("nois", {}),
    ],
)
def test_augmentation_out_of_range_is_refused_by_name(section, settings):
    with pytest.raises(ValueError, match=section):
        Augmentation(**{section: settings})
