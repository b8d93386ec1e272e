import math

import pytest

from medseg.config.problems import Origin
from medseg.config.tree import MAX_VALUES, Node, parse_yaml

FILE = Origin("a.yaml")


def plain(text):
    node, problems = parse_yaml(text, FILE)
    assert problems == []
    return node.plain


def mistakes(text):
    return [str(problem) for problem in parse_yaml(text, FILE)[1]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("3", 3),
        ("-0.5", -0.5),
        ("010", 10),
        ("no", "no"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("1:30", "1:30"),
        ("2026-11-22", "2026-11-22"),
        ("'5'", "5"),
        (".inf", math.inf),
        ("!!str 5", "5"),
        ("[1, {a: b}]", [1, {"a": "b"}]),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    found = plain(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


def test_each_value_knows_the_line_of_its_key_or_item():
    node, _ = parse_yaml("# comment\ntraining:\n  loss:\n    - name: dice\n    - name: cross_entropy\n", FILE)
    lines = [str(n.origin) for n in node.along(("training", "loss", 1, "name"))]
    assert lines == ["a.yaml", "a.yaml:2", "a.yaml:3", "a.yaml:5", "a.yaml:5"]


def test_a_path_is_followed_as_far_as_it_exists():
    node, _ = parse_yaml("a: {b: [5]}", FILE)
    assert [n.plain for n in node.along(("a", "b", "0"))][-1] == 5
    assert [n.plain for n in node.along(("a", "c", "d"))][-1] == {"b": [5]}


def test_a_key_given_twice_is_reported_with_both_lines():
    assert mistakes("a:\n  b: 1\n  c: 2\n  b: 3\n") == ["a.yaml:4: a.b: given twice, first on line 2"]


@pytest.mark.parametrize(
    ("key", "found"), [("5", "'5'"), ("true", "'true'"), ("[a]", "a sequence"), ("{a: 1}", "a mapping")]
)
def test_a_key_that_is_no_name_is_refused(key, found):
    assert mistakes(f"labels:\n  {key}: 1\n") == [
        f"a.yaml:2: labels: expected a name as key, found {found}; put it in quotes if it is a name"
    ]


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!binary", "!!set", "!Include"])
def test_tags_beyond_plain_data_are_refused(tag):
    (found,) = mistakes(f"data:\n  root: {tag} [x]\n")
    assert found.startswith("a.yaml:2: data.root: the tag ")
    assert found.endswith("is refused; YAML is plain data here")


def test_an_explicit_tag_that_does_not_fit_is_refused():
    assert mistakes("a: !!int ten") == ["a.yaml:1: a: 'ten' is not a int"]
    assert mistakes(f"a: {'9' * 5000}") == [f"a.yaml:1: a: '{'9' * 40}' is not a int"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n\tb: 2\n", "a.yaml:2:1: not YAML: a tab cannot indent YAML; use spaces"),
        ("a: b: c\n", "a.yaml:1:5: not YAML: a ':' that does not belong here: indentation, or text that needs quotes"),
        ("a: [1, 2\nb: 3\n", "a.yaml:2:2: not YAML: a list that '[' opened is not closed"),
        ("a: 'x\n", "a.yaml:2:1: not YAML: a quote that was opened is not closed"),
        ("a: *b\n", "a.yaml:1:4: not YAML: an alias (*name) without its anchor (&name)"),
        ("a: 1\n---\nb: 2\n", "a.yaml:2:1: not YAML: one document a file, found a second after '---'"),
        ("a: @x\n", "a.yaml:1:4: not YAML: text that begins with this character needs quotes"),
        ("a:\n    b: 1\n  c: 2\n", "a.yaml:3:3: not YAML: the indentation does not match the lines above"),
        (
            "{a: 1} b",
            "a.yaml:1:8: not YAML: text that does not continue what stands above: indentation, or a stray bracket",
        ),
        ("", "a.yaml: the file is empty"),
        ("# only a comment\n", "a.yaml: the file is empty"),
    ],
)
def test_text_that_is_no_yaml_is_explained_in_plain_words(text, message):
    assert mistakes(text) == [message]


def test_aliases_are_plain_copies():
    assert plain("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1, 1, 1, 1]\n"
        + "".join(f"{k}: &{k} [*{p}, *{p}, *{p}, *{p}]\n" for p, k in zip("abcdefghi", "bcdefghij", strict=True)),
        "a: &x [*x]\n",
        "a: " + "[" * 50 + "]" * 50,
        "a: " + "[" * 5000 + "]" * 5000,
    ],
    ids=["doubling", "recursive", "deep", "deeper than the stack"],
)
def test_a_text_that_explodes_is_refused(text):
    (found,) = mistakes(text)
    assert f"more than {MAX_VALUES} values" in found or "nested too deeply" in found


def test_ordinary_values_become_a_tree_and_come_back():
    values = {"a": [1, {"b": None}], "c": "text"}
    assert Node.of(values).plain == values
    assert Node.of(values, FILE).child("a").child(1).child("b") == Node(None, FILE)
