"""Settings of the data that are refused, wherever they come from."""

from dataclasses import asdict

import pytest

from medseg.data.settings import DataSettings
from medseg.model.view import View


def settings(**entries):
    return DataSettings(**{"manifest": "m.csv", "patch_size": [32, 32, 32], **entries})


@pytest.mark.parametrize(
    "wrong",
    [
        {"patch_size": [32]},
        {"patch_size": [32, 32, 32, 32]},
        {"patch_size": [32, 0]},
        {"mode": "slices"},
        {"slab_neighbours": 0},
        {"foreground_share": 1.1},
        {"class_shares": {"liver": -1}},
        {"fold": "none"},
        {"label_maps": {"other": {"liver": "1"}}},
        {"paths": "x"},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        settings(**wrong)


def test_label_maps_must_make_maps():
    with pytest.raises(ValueError, match="other: liver: value 0 is background and cannot be a class"):
        settings(label_maps={"good": {"liver": 1, "background": "rest"}, "other": {"liver": 0}})


def test_settings_keep_the_order_in_which_they_are_written_down():
    assert list(asdict(settings()))[:2] == ["manifest", "root"]


@pytest.mark.parametrize(("mode", "view"), [("patch", View()), ("slice", View("slice")), ("slab", View("slab", 2))])
def test_neighbours_count_in_slabs_alone(mode, view):
    assert settings(mode=mode, slab_neighbours=2).view == view
