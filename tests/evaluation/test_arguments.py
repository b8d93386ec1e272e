import pytest

from medseg.errors import ConfigError
from medseg.evaluation.arguments import parse_label_argument, parse_tolerances
from medseg.types import LabelMap


def test_label_arguments_read_as_they_look():
    assert parse_label_argument("liver=1,tumour=2") == LabelMap({"liver": (1,), "tumour": (2,)})
    assert parse_label_argument(" liver = 1+2 , background=rest,ignore=5") == LabelMap(
        {"liver": (1, 2)}, ignore=(5,), rest_is_background=True
    )
    assert parse_label_argument("liver=Whole liver+3") == LabelMap({"liver": ("Whole liver", 3)})  # of a DICOM-SEG


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "name=value"),
        ("liver", "name=value pairs such as liver=1,tumour=2.3, found 'liver'"),
        ("liver=1,", "found ''"),
        ("liver=-", "whole numbers"),
        ("liver=1.5", "whole numbers"),
        ("liver=1,liver=2", "given twice"),
        ("liver=1,tumour=1", "tumour.*liver"),
        ("ignore=1", "at least one class"),
        ("liver=0", "value 0 is background"),
    ],
)
def test_wrong_label_arguments_say_what_is_wrong(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_label_argument(text)


def test_tolerances_may_be_joined_or_given_one_by_one():
    assert parse_tolerances(["liver=7", "tumour=2, vein = 1.5"]) == {"liver": 7, "tumour": 2, "vein": 1.5}
    assert parse_tolerances([]) == {}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["liver"], "tolerance_mm: expected label=millimetres such as liver=7, found 'liver'"),
        (["=7"], "found '=7'"),
        (["liver=wide"], "found 'liver=wide'"),
        (["liver=inf"], "found 'liver=inf'"),
        (["liver=7", "liver=2"], "'liver' is given twice"),
    ],
)
def test_wrong_tolerances_say_what_is_wrong(texts, message):
    with pytest.raises(ConfigError, match=message):
        parse_tolerances(texts)
