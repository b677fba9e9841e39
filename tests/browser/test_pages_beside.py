"""The pages beside the report in a real browser: what is hidden, what is printed, links, phone and dark, and axe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import publishing
from tests.browser.conftest import HOSTILE, Open
from tests.samples import CELL, MS, fingerprint
from tests.stored_runs import one_of_each, other_machine, several, write

pytestmark = pytest.mark.browser
A, B = "20261121-100000-aaaa", "20261122-100000-bbbb"
#: Time of B over that of A: faster, the same, slower, and too near to the margin to be told.
FACTORS = {1: 0.5, 2: 1.0, 4: 2.0, 8: 1.031}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index, and a comparison of its two runs."""
    folder = tmp_path_factory.mktemp("site")
    cells = {CELL.but(batch=batch): 5.0 * MS for batch in FACTORS}
    changed = {cell: FACTORS[cell.batch] * time for cell, time in cells.items()}
    write(folder / "results", A, [*one_of_each(), *several(cells, 5, scatter=0.002)])
    write(folder / "results", B, several(changed, 5, seed=1, scatter=0.002, fingerprint=other_machine()))
    found = publishing.compared(folder / "results", A, B, 0.03, 0.002, frozenset(), "")
    publishing.write(publishing.compare_html(found), folder / "reports" / f"{A}..{B}.html")
    publishing.write_index(folder / "results", folder / "reports" / "index.html", "")
    return folder / "reports"


def words(page: Any) -> list[str]:
    """The verdicts that can be seen."""
    found: list[str] = page.eval_on_selector_all(
        ".cells tbody tr", "rows => rows.filter(row => row.checkVisibility()).map(row => row.className)"
    )
    return found


def test_what_is_the_same_is_hidden_until_it_is_asked_for(site: Path, open_page: Open) -> None:
    """By click and by key, without a script."""
    page = open_page(site / f"{A}..{B}.html")
    assert sorted(words(page)) == ["faster", "inconclusive", "slower"]
    page.click("label[for=show-same]")
    assert sorted(words(page)) == ["faster", "inconclusive", "same", "slower"]
    page.focus("#show-inconclusive")
    page.keyboard.press("Space")
    assert sorted(words(page)) == ["faster", "same", "slower"]


def test_print_shows_all(site: Path, open_page: Open) -> None:
    page = open_page(site / f"{A}..{B}.html")
    page.emulate_media(media="print")
    assert sorted(words(page)) == ["faster", "inconclusive", "same", "slower"]


def test_a_phone_sees_bars_and_what_it_would_take(site: Path, open_page: Open) -> None:
    """Each comparison is a block there: nothing of it lies beyond the right edge."""
    page = open_page(site / f"{A}..{B}.html", viewport={"width": 390, "height": 844})
    beyond = (
        """all => all.filter(one => one.checkVisibility() && one.getBoundingClientRect().right > innerWidth).length"""
    )
    assert page.eval_on_selector_all(".cells :is(svg, td.why)", beyond) == 0
    assert page.locator(".cells tr.inconclusive td.why").is_visible()
    page.evaluate("document.querySelectorAll('.cells :is(tr, td, th)').forEach(one => (one.style.display = 'revert'))")
    assert page.eval_on_selector_all(".cells :is(svg, td.why)", beyond) > 0, "the check can fail"


def test_the_index_leads_to_its_pages(site: Path, open_page: Open) -> None:
    page = open_page(site / "index.html")
    page.click(f"text=against {A}")
    page.wait_for_selector("h2#surroundings")
    assert page.url.endswith(f"{A}..{B}.html")
    assert "2.14.0 → 2.15.0" in page.inner_text("section[aria-labelledby=surroundings]")


@pytest.mark.parametrize("settings", [{}, {"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}}])
@pytest.mark.parametrize("name", ["index", f"{A}..{B}"])
def test_axe_finds_nothing_and_nothing_sticks_out(
    site: Path, open_page: Open, name: str, settings: dict[str, object]
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(site / f"{name}.html", bypass_csp=True, **settings)
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_hostile_text_runs_nothing(open_page: Open, tmp_path: Path) -> None:
    evil = CELL.but(workload=HOSTILE, size=HOSTILE, environment=HOSTILE, precision=HOSTILE, mode=HOSTILE)
    for name, value in ((A, HOSTILE), (B, HOSTILE[::-1])):
        facts = fingerprint(machine={"chip": value, HOSTILE: value}, versions={HOSTILE: value}, device_name=value)
        write(tmp_path / "results", name, several({evil: 5.0 * MS}, fingerprint=facts), command=HOSTILE)
    found = publishing.compared(tmp_path / "results", A, B, 0.03, 0.22, frozenset(), HOSTILE)
    compare = publishing.write(publishing.compare_html(found), tmp_path / "compare.html")
    index = publishing.write_index(tmp_path / "results", tmp_path / "index.html", HOSTILE)
    for path in (compare, index):
        assert open_page(path).evaluate("window.planted") is None
