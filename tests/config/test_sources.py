import pytest

from medseg.config.sources import Reader, display, read_overrides
from medseg.config.tree import MAX_BYTES


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "configs").mkdir()

    def write(**files):
        for name, text in files.items():
            (tmp_path / f"{name.replace('__', '/')}.yaml").write_text(text)
        return tmp_path

    return write


def read(path):
    reader = Reader()
    return reader.read(path).plain, [str(problem) for problem in reader.problems], reader


def test_the_file_wins_over_fragments_and_later_fragments_over_earlier(folder):
    root = folder(
        configs__one="a: 1\nb: 1\nc: 1\n",
        configs__two="b: 2\nc: 2\n",
        pipelines__x="include: [../configs/one.yaml, ../configs/two.yaml]\nc: 3\n",
    )
    assert read(root / "pipelines/x.yaml")[:2] == ({"a": 1, "b": 2, "c": 3}, [])


def test_a_fragment_includes_relative_to_itself(folder):
    root = folder(
        configs__inner="a: 1\n", configs__outer="include: inner.yaml\nb: 2\n", x="include: configs/outer.yaml\n"
    )
    assert read(root / "x.yaml")[:2] == ({"a": 1, "b": 2}, [])


def test_two_fragments_may_share_a_third(folder):
    root = folder(
        base="a: 1\n",
        left="include: base.yaml\n",
        right="include: base.yaml\nb: 2\n",
        x="include: [left.yaml, right.yaml]\n",
    )
    assert read(root / "x.yaml")[:2] == ({"a": 1, "b": 2}, [])


def test_files_that_include_each_other_are_an_error_with_the_chain(folder):
    root = folder(a="x: 1\ninclude: b.yaml\n", b="include: a.yaml\n")
    assert read(root / "a.yaml")[1] == ["b.yaml:1: include: the files include each other: a.yaml -> b.yaml -> a.yaml"]


def test_a_missing_fragment_is_named_with_the_nearest_file(folder):
    root = folder(configs__segnet="a: 1\n", x="a: 1\ninclude:\n  - configs/segnt.yaml\n")
    _, problems, reader = read(root / "x.yaml")
    assert problems == ["x.yaml:3: include: configs/segnt.yaml: no such file; did you mean 'segnet'?"]
    assert reader.incomplete


@pytest.mark.parametrize(
    ("entry", "found"), [("5", "5"), ("''", "''"), ('"a\\0b"', r"'a\x00b'"), ("{a: b}", "a mapping with a")]
)
def test_an_include_that_is_no_file_name_is_refused(folder, entry, found):
    root = folder(x=f"include: {entry}\n")
    expected = "x.yaml:1: include: expected a file or a list of files, relative to this one, found "
    assert read(root / "x.yaml")[1] == [expected + found]


def test_mistakes_of_several_files_are_all_collected(folder):
    root = folder(one="a: 1\na: 2\n", two="b: [\n", x="include: [one.yaml, two.yaml]\nc: !!set {}\n")
    problems = read(root / "x.yaml")[1]
    assert [problem.split(":")[0] for problem in problems] == ["x.yaml", "one.yaml", "two.yaml"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- 1\n- 2\n", "x.yaml: expected 'key: value' lines, found [1, 2]"),
        (b"just text", "x.yaml: expected 'key: value' lines, found 'just text'"),
        (b"a: \xff\n", "x.yaml: expected UTF-8 text, found the byte 0xff"),
        (b"#" * (MAX_BYTES + 1), f"x.yaml: expected at most {MAX_BYTES} bytes of YAML"),
        (b"", "x.yaml: the file is empty"),
    ],
)
def test_a_file_that_is_no_mapping_in_yaml_is_refused(folder, content, message):
    path = folder() / "x.yaml"
    path.write_bytes(content)
    assert read(path)[:2] == ({}, [message])


def test_a_file_that_is_missing_or_a_folder_is_refused(folder):
    root = folder(liver="a: 1\n")
    assert read(root / "livr.yaml")[1] == ["livr.yaml: no such file; did you mean 'liver'?"]
    assert read(root / "configs")[1] == ["configs: expected a YAML file, found a folder"]


def test_a_byte_order_mark_is_no_part_of_the_first_key(folder):
    path = folder() / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read(path)[0] == {"a": 1}


def test_paths_below_the_working_directory_are_shown_relative(folder, tmp_path):
    folder()
    assert display(tmp_path / "pipelines" / ".." / "configs" / "x.yaml") == "configs/x.yaml"
    assert display(tmp_path.parent / "x.yaml") == str(tmp_path.parent / "x.yaml")


def test_override_values_are_yaml():
    texts = ["a.b=1e-3", "a.c=null", "d=[{name: dice}, 2]", "e=x=y", "f.root=/x", "a.b=5"]
    tree, problems = read_overrides(texts)
    assert problems == []
    assert tree.plain == {"a": {"b": 5, "c": None}, "d": [{"name": "dice"}, 2], "e": "x=y", "f": {"root": "/x"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs", "expected section.key=value such as training.epochs=50"),
        ("=5", "expected section.key=value such as training.epochs=50"),
        ("a..b=5", "expected section.key=value such as training.epochs=50"),
        ("a.b=", "a.b: nothing after '='; write null to clear a value"),
        ("include=x.yaml", "include: belongs into a file; name single keys here"),
        ("a.b=[1", "a.b: not YAML: a list that '[' opened is not closed"),
        ("a.b={c: 1, c: 2}", "a.b.c: given twice"),
    ],
)
def test_a_wrong_override_is_reported_with_its_number(text, message):
    _, problems = read_overrides(["x=1", text])
    assert [str(problem) for problem in problems] == [f"override 2 ({text}): {message}"]
