import pytest
from pydantic import TypeAdapter, ValidationError

from medseg.model.postprocess import PostProcessing

ADAPTER = TypeAdapter(PostProcessing)


def section(**entries):
    return ADAPTER.validate_python(entries)


def test_nothing_is_done_by_default():
    plain = {"thresholds": {}, "inside": {}, "keep_largest": [], "fill_holes": [], "minimum_ml": {}}
    assert ADAPTER.dump_python(section(), mode="json") == plain


def test_the_order_of_the_yaml_does_not_matter():
    one = section(minimum_ml={"tumour": 0.1}, inside={"tumour": {"of": ["liver"], "margin_mm": 5}})
    other = section(inside={"tumour": {"margin_mm": 5, "of": ["liver"]}}, minimum_ml={"tumour": 0.1})
    assert ADAPTER.dump_json(one) == ADAPTER.dump_json(other)


@pytest.mark.parametrize(
    "entries",
    [
        {"inside": {"tumour": {"of": []}}},
        {"inside": {"tumour": {"of": ["liver"], "margin_mm": -1}}},
        {"inside": {"tumour": ["liver"]}},
        {"minimum_ml": {"tumour": 0}},
        {"thresholds": {"tumour": 1.0}},
        {"thresholds": {"tumour": 0.0}},
        {"smooth": ["liver"]},
    ],
)
def test_what_makes_no_sense_is_refused(entries):
    with pytest.raises(ValidationError):
        section(**entries)


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ({"tumour": ["tumour"]}, "tumour: expected an organ that need not lie inside tumour itself"),
        ({"vein": ["liver"], "liver": ["tumour"], "tumour": ["liver"]}, "inside vein itself|inside liver itself"),
    ],
)
def test_classes_inside_each_other_are_refused(inside, message):
    with pytest.raises(ValidationError, match=message):
        section(inside={name: {"of": of} for name, of in inside.items()})


def test_an_organ_may_itself_lie_in_another():
    assert section(inside={"tumour": {"of": ["liver"]}, "liver": {"of": ["body"]}}).inside["liver"].of == ("body",)


def test_classes_that_are_cleaned_and_all_that_are_named():
    steps = section(thresholds={"vein": 0.3}, inside={"tumour": {"of": ["liver"]}}, fill_holes=["liver"])
    assert steps.cleaned == ("tumour", "liver")
    assert set(steps.named) == {"vein", "tumour", "liver"}
