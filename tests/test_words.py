import pytest

from medseg.words import did_you_mean, listed, nearest, shown


def test_nearest_name_ignores_case_and_may_be_absent():
    assert did_you_mean("Epohs", ["epochs", "seed"]) == "; did you mean 'epochs'?"
    assert did_you_mean("zebra", ["epochs", "seed"]) == ""


@pytest.mark.parametrize(
    ("names", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a or b"), (list("abc"), "a, b or c")]
)
def test_names_are_listed_as_in_a_sentence(names, text):
    assert listed(names) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ("ten", "'ten'"),
        ([1, None, "a"], "[1, null, 'a']"),
        ({"a": 1, "b": 2}, "a mapping with a and b"),
        ({}, "an empty mapping"),
    ],
)
def test_values_are_shown_as_the_yaml_had_them(value, text):
    assert shown(value) == text


def test_long_values_are_cut_to_a_short_line():
    assert len(shown("x" * 1000)) == 80


def test_the_nearest_name_is_found_in_any_case_and_may_not_be_there() -> None:
    assert nearest("EPOHS", ["seed", "epochs"]) == "epochs"
    assert nearest("epochs", ["seed"]) is None
    assert nearest("epochs", []) is None
