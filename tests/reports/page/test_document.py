"""One file, nothing fetched, and no name in it runs."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from medseg.reports.page.document import SCRIPTS, document, escaped_json

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]>",
    '"><img src=x onerror=alert(1)>',
    "{{script}}",
    "\u2028\u2029\\",
    "a\ud800b",
    "&lt;b&gt;",
]


class Reader(HTMLParser):
    """Elements with their attributes, and the text of each script."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.cdata_elem == "script":
            self.scripts[-1] += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_text(name):
    page = document(name, {"title": name, name: [name]}, [("study-1", {"id": name})])
    found = read(page)
    ours = read(document("title", {}, [("study-1", {})]))
    assert [tag for tag, _ in found.elements] == [tag for tag, _ in ours.elements]
    data, study, script = found.scripts
    assert json.loads(data) == {"title": name, name: [name]}
    assert json.loads(study) == {"id": name}
    assert script == ours.scripts[2]


@pytest.mark.parametrize("name", HOSTILE)
def test_json_in_a_script_has_no_character_that_could_end_it(name):
    text = escaped_json([name])
    assert text.isascii()
    assert not set("<>&") & set(text)
    assert json.loads(text) == [name]


def test_json_without_a_place_for_nan_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        escaped_json([float("nan")])


def test_the_policy_allows_no_request_and_only_our_script():
    page = document("title", {}, [])
    found = read(page)
    policies = [e["content"] for _, e in found.elements if e.get("http-equiv") == "Content-Security-Policy"]
    parts = dict(part.strip().split(" ", 1) for part in policies[0].split(";"))
    assert parts["default-src"] == "'none'"
    assert parts["img-src"] == "data:"
    digest = base64.b64encode(hashlib.sha256(found.scripts[-1].encode()).digest()).decode()
    assert parts["script-src"] == f"'sha256-{digest}'"
    style = re.search(r"<style>(.*?)</style>", page, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert parts["style-src"] == f"'sha256-{digest}'"


def test_nothing_points_outside_the_file():
    page = document("title", {}, [])
    urls = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}\S*", page.replace("http://www.w3.org/2000/svg", "")))
    assert urls == set()  # the name of SVG is a name: nothing is fetched from it
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|Worker|localStorage|sessionStorage|eval)\b", page)
    assert not re.search(r"@import|url\(", page)
    links = [
        e
        for tag, e in read(page).elements
        if tag in ("link", "script", "img", "iframe") and (e.get("href") or e.get("src"))
    ]
    assert [link["href"] for link in links] == ["data:,"]


def test_all_scripts_are_joined_in_their_order():
    script = read(document("title", {}, [])).scripts[-1]
    places = [
        script.index(first)
        for first in (
            "const DATA",
            "const HU",
            "const CELL_LINES",
            "class Plots",
            "class StudyTable",
            "class Viewer",
            "const MOST_TILES",
        )
    ]
    assert places == sorted(places)
    assert len(SCRIPTS) == 7
