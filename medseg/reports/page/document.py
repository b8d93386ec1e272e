"""One HTML file out of template, style, scripts and data: nothing in it is fetched, and no name in it can run.

The page forbids itself every request and every script but its own by a Content-Security-Policy with the scripts' hash.
Data stand in script elements of type application/json, with every character escaped that could end them.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

SCRIPTS = ("dom", "decode", "contour", "plots", "table", "viewer", "main")
"""Files in the order in which they are joined."""

_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def document(title: str, data: Any, blocks: Iterable[tuple[str, Any]]) -> str:
    """Write the page.

    Args:
        title: of the browser's tab.
        data: what the page shows, as JSON can hold it.
        blocks: (element id, JSON) for each study; read by the page when it is chosen, not before.
    """
    script, style = _script(), _asset("page.css")
    embedded = [_block("data", data), *(_block(name, block) for name, block in blocks)]
    parts = {
        "title": html.escape(title),
        "policy": f"default-src 'none'; img-src data:; script-src '{_hash(script)}'; style-src '{_hash(style)}'",
        "style": style,
        "data": "\n".join(embedded),
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("page.html"))


def escaped_json(value: Any) -> str:
    """JSON that may stand inside a script element: pure ASCII, no ``<``, ``>`` or ``&``.

    Raises:
        ValueError: a number that JSON lacks.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return re.sub(r"[<>&]", lambda match: _ESCAPES[match[0]], text)


def _block(name: str, value: Any) -> str:
    return f'<script type="application/json" id="{name}">{escaped_json(value)}</script>'


@cache
def _script() -> str:
    joined = "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{joined}}})();\n'


@cache
def _asset(name: str) -> str:
    return files("medseg.reports.page").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
