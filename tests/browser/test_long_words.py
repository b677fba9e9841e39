"""Words without an end, wherever a record can hold them: the page stays as wide as the window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import publishing, reporting
from tests.page_records import cells, records, write_run
from tests.samples import CELL, MS, fingerprint
from tests.stored_runs import several, write

pytestmark = pytest.mark.browser

LONG = "H" * 300
A, B = "20261121-100000-aaaa", "20261122-100000-bbbb"
FACTS = fingerprint(
    machine={"chip": LONG, "host": LONG, "os_version": LONG, LONG: LONG}, device_name=LONG, git_revision=LONG,
    versions={"torch": LONG, LONG: LONG}, variables={LONG: LONG}, power={"governor": LONG, LONG: LONG},
)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report, a comparison and an index of such records."""
    folder = tmp_path_factory.mktemp("long")
    which = [one.but(size=LONG, environment=f"{one.environment} {LONG}") for one in cells((1, 8))]
    odd = {"fingerprint": FACTS, "labels": [LONG], "answer": LONG, "layout": LONG}
    run = write_run(folder / "one", [msgspec.structs.replace(one, **odd) for one in records(2, which)])
    reporting.write_html(reporting.gather([run], "", 0.03, LONG), folder / "report.html")
    results = folder / "results"
    for seed, name in enumerate((A, B)):
        write(results, name, several({CELL: 5.0 * MS}, seed=seed, fingerprint=FACTS), command=LONG)
    compared = publishing.compared(results, A, B, 0.03, 0.22, frozenset(), LONG)
    (folder / "compare.html").write_text(publishing.compare_html(compared), encoding="utf-8")
    (folder / "index.html").write_text(publishing.index_html(results, LONG, []), encoding="utf-8")
    return folder


@pytest.mark.parametrize("width", [390, 820, 1280])
@pytest.mark.parametrize("name", ["report", "compare", "index"])
def test_no_word_makes_a_page_wider_than_its_window(
    site: Path, open_page: Callable[..., Any], name: str, width: int
) -> None:
    page = open_page(site / f"{name}.html", viewport={"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(one => (one.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
