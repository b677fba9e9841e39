"""One style sheet, one script, and a Content-Security-Policy that lets exactly these two through.

Whatever text a record holds, the browser runs nothing and fetches nothing that is not named here by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from typing import Any

from markupsafe import Markup

#: In the order in which they stand in the page.
STYLES = ("assets/uPlot.min.css", "templates/style.css")
SCRIPTS = ("assets/uPlot.iife.min.js", "assets/sortable.js", "templates/app.js")
LICENCES = ("uPlot", "sortable")


def read(name: str) -> str:
    """A file of this package."""
    return (resources.files("bench.report") / name).read_text(encoding="utf-8")


def style(further: str) -> str:
    """The whole style sheet; ``further`` are the classes of the pictures."""
    return "\n".join([*map(read, STYLES), further])


def script() -> str:
    """The whole script: the libraries, then the page's own."""
    return "\n".join(map(read, SCRIPTS))


def licences() -> list[tuple[str, str]]:
    """(name, text) of the libraries' licences, which their authors ask to keep beside them."""
    return [(name, read(f"assets/{name}.LICENSE").strip()) for name in LICENCES]


def policy(script_text: str, style_text: str) -> str:
    """The policy: nothing from anywhere, but this script and this style sheet; ``data:`` for the empty icon."""
    return (
        f"default-src 'none'; script-src '{_hash(script_text)}'; style-src '{_hash(style_text)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def data(value: Any) -> Markup:
    """A value as JSON that may stand in a ``<script type="application/json">``: no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)
