import pytest

from medseg.config.interpolation import MAX_TEXT, interpolate
from medseg.config.problems import Origin
from medseg.config.tree import MAX_VALUES, parse_yaml


def resolve(text):
    tree, problems = parse_yaml(text, Origin("a.yaml"))
    assert problems == []
    found, problems = interpolate(tree)
    return found.plain, [str(problem) for problem in problems]


def test_a_reference_keeps_the_type_of_a_whole_value():
    plain, problems = resolve("a: {n: 3, l: [1, 2], f: 1e-3}\nb: ['${a.n}', '${a.l}', '${a.l.1}', '${a.f}']\n")
    assert (plain["b"], problems) == ([3, [1, 2], 2, 0.001], [])


def test_references_inside_a_text_are_replaced_and_chained():
    plain, _ = resolve("name: liver\ndata:\n  root: /x/${name}\n  manifest: ${data.root}/fold-${k}.csv\nk: 3\n")
    assert plain["data"] == {"root": "/x/liver", "manifest": "/x/liver/fold-3.csv"}


def test_a_path_variable_is_read_and_its_default_used_where_it_is_not_set(monkeypatch):
    monkeypatch.setenv("MEDSEG_DATA", "/big")
    monkeypatch.delenv("MEDSEG_RUNS", raising=False)
    text = "data:\n  root: ${path_env:MEDSEG_DATA,../data}/sarcoma\nruns_dir: ${path_env:MEDSEG_RUNS,../runs}\n"
    assert resolve(text) == ({"data": {"root": "/big/sarcoma"}, "runs_dir": "../runs"}, [])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("${path_env:HOME,x}", "path_env reads only variables that begin with MEDSEG_, found 'HOME'"),
        ("${path_env:MEDSEG_UNSET}", "the environment variable MEDSEG_UNSET is not set; set it or write"),
        ("${oc.env:HOME}", "expected ${section.key} or ${path_env:MEDSEG_NAME,default}, found '${oc.env:HOME}'"),
        ("${env:HOME}", "expected ${section.key} or"),
        ("${${x}:HOME}", "expected ${section.key} or"),
        ("${path_env:${name}}", "expected ${section.key} or"),
        ("x${", "expected ${section.key} or"),
        ("${data.rot}", "${data.rot} names no value of this pipeline; did you mean 'root'?"),
        ("${data.root}", "${data.root} refers to itself"),
        ("${data}", "${data} refers to itself"),
        ("${section}", "${section} must be a single value or a list of them"),
        ("x/${sizes}", "${sizes} inside a text must be a single value, found a list"),
        ("x/${nothing}", "${nothing} inside a text must be a single value, found null"),
    ],
)
def test_a_wrong_reference_is_reported_with_its_line(monkeypatch, line, message):
    monkeypatch.delenv("MEDSEG_UNSET", raising=False)
    text = f'name: x\ndata:\n  root: "{line}"\nsection: {{a: 1}}\nsizes: [1, 2]\nnothing: null\n'
    plain, (problem,) = resolve(text)
    assert problem.startswith(f"a.yaml:3: data.root: {message}")
    assert plain["data"]["root"] is None


def test_an_environment_variable_reaches_no_other_key(monkeypatch):
    monkeypatch.setenv("MEDSEG_TOKEN", "secret")
    plain, (problem,) = resolve("tracking:\n  tags: {token: '${path_env:MEDSEG_TOKEN}'}\n")
    assert problem == (
        "a.yaml:2: tracking.tags.token: path_env is for machine paths: "
        "data.manifest, data.root, data.cache_dir, network.encoder_weights, tracking.uri and runs_dir"
    )
    assert plain["tracking"]["tags"]["token"] is None


def test_a_circle_is_an_error_and_not_a_loop():
    _, problems = resolve("a: ${b}\nb: ${a}\n")
    assert any("refers to itself" in problem for problem in problems)
    assert all(problem.startswith("a.yaml:") for problem in problems)


def test_doublings_end_at_a_bound():
    text = "a0: xxxxxxxxxx\n" + "".join(f"a{i + 1}: ${{a{i}}}${{a{i}}}\n" for i in range(60))
    _, problems = resolve(text)
    assert f"expected at most {MAX_TEXT} characters" in problems[0]
    text = f"a: [{', '.join('1' * 5000)}]\n" + "".join(f"b{i}: ${{a}}\n" for i in range(10))
    assert f"more than {MAX_VALUES} values" in resolve(text)[1][0]
