import pytest

from medseg.config.explain import checked
from medseg.errors import ConfigError
from medseg.evaluation.options import EvaluationSettings, ScoringOptions

NAMES = ("liver", "tumour")


def test_every_class_has_a_tolerance_its_own_or_the_default():
    options = ScoringOptions(tolerance_mm={"liver": 7})
    assert options.tolerances_mm(NAMES) == [7.0, 2.0]
    assert ScoringOptions(default_tolerance_mm=1.5).tolerances_mm(NAMES) == [1.5, 1.5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tolerance_mm": {"liver": 0}}, "tolerance_mm.liver: expected a number above 0, found 0"),
        ({"default_tolerance_mm": float("nan")}, "default_tolerance_mm: expected a number above 0, found nan"),
        ({"min_overlap": 0.0}, "min_overlap: expected a number above 0 and of at most 1, found 0.0"),
        ({"min_overlap": 1.1}, "min_overlap: .* found 1.1"),
        ({"definition": "voxel"}, "definition: expected 'elements' or 'voxels', found 'voxel'; did you mean 'voxels'"),
        ({"empty_as": "None"}, "empty_as: expected 'nan', 'zero' or 'one', found 'None'"),
        ({"lesions": ["liver", "liver"]}, "lesions: expected each class once"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=next(iter(settings))):
        ScoringOptions(**settings)
    with pytest.raises(ConfigError, match=message):
        checked(ScoringOptions, settings)


def test_the_pipelines_section_gives_options():
    section = EvaluationSettings(
        split="test", surface=False, tolerance_mm={"liver": 7}, lesions=("tumour",), min_overlap=0.5, empty_as="one"
    )
    assert section.options == ScoringOptions(
        surface=False, tolerance_mm={"liver": 7}, lesions=("tumour",), min_overlap=0.5, empty_as="one"
    )
    assert EvaluationSettings().options == ScoringOptions()


def test_labels_that_are_none_are_refused_with_the_nearest_one():
    with pytest.raises(ConfigError, match="lesions: expected liver or tumour, found 'tumor'; did you mean 'tumour'"):
        ScoringOptions(lesions=("tumor",)).require(NAMES)
    with pytest.raises(ConfigError, match="tolerance_mm: expected liver or tumour, found 'spleen'"):
        ScoringOptions(tolerance_mm={"spleen": 1}).require(NAMES)
    ScoringOptions(tolerance_mm={"liver": 7}, lesions=("tumour",)).require(NAMES)
