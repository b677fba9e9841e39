"""Every class that a template of the report names has a rule of style, or is listed here as meant to have none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEMPLATES = Path(__file__).parents[1] / "bench" / "report" / "templates"
#: Words for the script, for sorting (sortable's own), and for who reads the page's source: no looks of their own.
UNSTYLED = frozenset({"asc", "base", "download", "n-last", "ratio", "reason", "slower"})


def used(text: str) -> set[str]:
    """The classes that a template names; parts that a value fills in are left out, their fixed words are not."""
    found: set[str] = set()
    for attribute in re.findall(r'\bclass="([^"]*)"', text):
        fixed = re.sub(r"\{%.*?%\}", " ", re.sub(r"\S*\{\{.*?\}\}\S*", " ", attribute))
        chosen = re.findall(r"'([a-z]+)'(?= if | \}\})", attribute)  # {{ 'long' if ... else 'nowrap' }}
        found |= {*fixed.split(), *chosen}
    return found


def styled(*sheets: str) -> set[str]:
    """The classes that style sheets have rules for; strings and comments are none."""
    selectors = re.sub(r"\{[^{}]*\}|/\*.*?\*/", " ", "\n".join(sheets), flags=re.DOTALL)
    return set(re.findall(r"\.([a-zA-Z][\w-]*)", selectors))


def sheets(*names: str) -> list[str]:
    return [(TEMPLATES / name).read_text(encoding="utf-8") for name in names]


def without_rule(template: Path) -> set[str]:
    text = template.read_text(encoding="utf-8")
    # Pages beside the report have a sheet more; what both include has the report's own only.
    beside = "layout.html.j2" in text or template.name == "layout.html.j2"
    return used(text) - styled(*sheets("style.css", *(["pages.css"] if beside else []))) - UNSTYLED


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.j2")), ids=lambda path: path.name)
def test_every_class_of_a_template_has_a_rule(template: Path) -> None:
    assert without_rule(template) == set()


def test_nothing_is_listed_as_unstyled_that_is_not_used_so() -> None:
    everywhere = set().union(*(used(path.read_text(encoding="utf-8")) for path in TEMPLATES.glob("*.j2")))
    assert everywhere >= UNSTYLED
    assert not UNSTYLED & styled(*sheets("style.css"))


def test_saboteur_a_lost_rule_is_named(tmp_path: Path) -> None:
    template = tmp_path / "x.html.j2"
    template.write_text('{% extends "layout.html.j2" %}<ul class="numbers gone"><li class="{{ word }}">')
    assert without_rule(template) == {"gone"}
    assert used("<b class=\"{{ 'long' if x else 'nowrap' }} a{% if b %} over{% endif %}\">") == {
        "long", "nowrap", "a", "over",
    }  # fmt: skip
