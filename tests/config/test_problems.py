import pytest

from medseg.config.problems import Origin, Problem, did_you_mean, dotted, listed, shown


def test_a_problem_reads_as_file_line_key_and_message():
    assert str(Problem("training.epochs", "is odd", Origin("a.yaml", 12))) == "a.yaml:12: training.epochs: is odd"
    assert str(Problem("", "not YAML", Origin("a.yaml", 12, 3))) == "a.yaml:12:3: not YAML"
    assert str(Problem("data", "is odd")) == "data: is odd"


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


def test_list_positions_are_part_of_a_dotted_key():
    assert dotted(("training", "loss", 0)) == "training.loss.0"
