import pytest

from medseg.errors import ConfigError
from medseg.evaluation import ScoringOptions

NAMES = ("liver", "tumour")


def test_every_class_has_a_tolerance_its_own_or_the_default():
    options = ScoringOptions(tolerance_mm={"liver": 7})
    assert options.tolerances_mm(NAMES) == [7.0, 2.0]
    assert ScoringOptions(default_tolerance_mm=1.5).tolerances_mm(NAMES) == [1.5, 1.5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tolerance_mm": {"liver": 0}}, "tolerance of liver: expected millimetres above 0, found 0"),
        ({"default_tolerance_mm": float("nan")}, "tolerance of every other label: .* found nan"),
        ({"min_overlap": 0.0}, "min_overlap: expected an IoU above 0 and up to 1, found 0"),
        ({"min_overlap": 1.1}, "found 1.1"),
        ({"definition": "voxel"}, "definition: expected elements or voxels, found 'voxel'; did you mean 'voxels'"),
        ({"empty_as": "None"}, "empty_as: expected nan, zero or one, found 'None'; did you mean 'one'"),
        ({"lesions": ("liver", "liver")}, "lesions: expected each label once"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ScoringOptions(**settings)


def test_labels_that_are_none_are_refused_with_the_nearest_one():
    with pytest.raises(ConfigError, match="lesions: expected liver or tumour, found 'tumor'; did you mean 'tumour'"):
        ScoringOptions(lesions=("tumor",)).require(NAMES)
    with pytest.raises(ConfigError, match="tolerance_mm: expected liver or tumour, found 'spleen'"):
        ScoringOptions(tolerance_mm={"spleen": 1}).require(NAMES)
    ScoringOptions(tolerance_mm={"liver": 7}, lesions=("tumour",)).require(NAMES)
