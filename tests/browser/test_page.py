"""What a reader does with a page: sort, filter, choose a baseline, hover, link, print; with no script but its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.reporting import gather
from tests.browser.conftest import Open, make, until
from tests.page_records import LOG, REASON

pytestmark = pytest.mark.browser
FAILED = "could not allocate 3.1 GiB"


def column(page: Any, number: int) -> list[str]:
    """What the visible rows of the list sort by in a column."""
    found: list[str] = page.eval_on_selector_all(
        "table.cells tbody tr:not([hidden])",
        f"rows => rows.map(row => row.cells[{number}].dataset.sort ?? row.cells[{number}].textContent.trim())",
    )
    return found


def head(page: Any, word: str) -> Any:
    return page.locator("table.cells thead button", has_text=word).first


def test_click_and_key_sort(page_file: Path, open_page: Open) -> None:
    """Numbers as numbers, what has none last in both directions; Enter does what a click does."""
    page = open_page(page_file)
    head(page, "throughput").click()
    page.wait_for_selector("table.cells th[aria-sort=ascending]")
    until(page, "document.querySelector('table.cells tbody tr').cells[5].dataset.sort < 300")
    rates = [float(text) for text in column(page, 5) if text]
    assert rates == sorted(rates)
    assert len(rates) > 50
    assert column(page, 5)[-1] == "", "cells without a speed come last"
    head(page, "throughput").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("table.cells th[aria-sort=descending]")
    until(page, "document.querySelector('table.cells tbody tr').cells[5].dataset.sort > 300")
    assert [float(text) for text in column(page, 5) if text] == sorted(rates, reverse=True)
    assert column(page, 5)[-1] == ""
    head(page, "environment").click()
    until(page, "document.querySelector('table.cells tbody tr').cells[1].textContent === 'jax/cpu'")
    assert column(page, 1) == sorted(column(page, 1))


def test_filter_by_words_and_outcome(page_file: Path, open_page: Open) -> None:
    """Grid and list follow; the count says how many; works without a row go."""
    page = open_page(page_file)
    assert page.inner_text("#shown") == "60 of 60 cells"
    page.fill("#filter", "jax CUDA fp16")
    assert page.inner_text("#shown") == "3 of 60 cells"
    assert set(column(page, 1)) == {"jax/cuda"}
    assert set(column(page, 2)) == {"fp16"}
    heads = page.eval_on_selector_all(
        ".work:not([hidden]) table.grid tbody tr:not([hidden]) th", "all => all.map(one => one.firstChild.textContent)"
    )
    assert heads == ["jax/cuda"] * 3
    page.fill("#filter", "")
    page.select_option("#outcome", "wrong")
    assert page.inner_text("#shown") == "1 of 60 cells"
    assert page.locator(".work:not([hidden])").count() == 1
    assert page.locator("tr:not([hidden]) td.faded").count() == 2
    page.select_option("#outcome", "")
    page.fill("#filter", "no such word")
    assert page.inner_text("#shown") == "0 of 60 cells"


SHOWN = """() => [...document.querySelectorAll("td[data-rate]")].map(
    cell => [cell.dataset.place, cell.className, cell.querySelector(".ratio").textContent])"""


def test_chosen_baseline_is_what_the_page_would_be_made_with(
    run: Path, page_file: Path, open_page: Open, tmp_path: Path
) -> None:
    """Every ratio, interval, digit and tint: the script's arithmetic is that of Python."""
    pattern = "jax/cuda/fp16/compiled"
    made = open_page(make([run], tmp_path / "made.html", pattern))
    page = open_page(page_file)
    before = page.evaluate(SHOWN)
    page.select_option("#baseline", pattern)
    chosen = page.evaluate(SHOWN)
    assert chosen == made.evaluate(SHOWN)
    assert chosen != before
    assert sum(text == "baseline" for _, _, text in chosen) == 3
    assert "was not measured here" in page.locator(".work .base").last.inner_text(), "the pipeline has no fp16"
    lists = "all => all.map(one => one.textContent)"
    ratios = page.eval_on_selector_all("table.cells td.ratio", lists)
    assert ratios == made.eval_on_selector_all("table.cells td.ratio", lists)
    page.select_option("#baseline", "")
    assert page.evaluate(SHOWN) == before


def test_hover_and_focus_tell_the_reason(page_file: Path, open_page: Open) -> None:
    page = open_page(page_file)
    for outcome, reason in {
        "failed": FAILED,
        "wrong": "limit 0.005",
        "timed_out": "120 s",
        "unsupported": REASON,
    }.items():
        square = page.locator(f"table.grid td.{outcome}").first
        square.scroll_into_view_if_needed()
        square.hover()
        assert page.locator("#tip").is_visible()
        assert reason in page.inner_text("#tip")
    square.locator("a").focus()
    page.mouse.move(0, 0)
    page.locator("table.grid td.failed a").first.focus()
    assert FAILED in page.inner_text("#tip")
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()
    page.locator("table.grid td[data-rate]").first.hover()
    assert "95 % interval" in page.inner_text("#tip")


def test_deep_links_open_what_they_name(run: Path, page_file: Path, open_page: Open) -> None:
    (failed,) = [one for one in gather([run], "", 0.03, "").summaries if one.outcome == "failed"]
    page = open_page(page_file, f"cell-{failed.cell.id}")
    entry = page.locator(f"#cell-{failed.cell.id}")
    assert entry.get_attribute("open") is not None
    until(page, f"document.getElementById('cell-{failed.cell.id}').getBoundingClientRect().top < 700")
    assert entry.bounding_box()["y"] > 40, "not under the bar"
    assert FAILED in entry.inner_text()
    assert "twinbench run mlp:wide" in entry.inner_text()
    entry.locator("a", has_text="with its log").click()
    page.locator(".problem", has_text=FAILED).locator("summary").click()
    assert LOG.splitlines()[-1] in page.inner_text(".problem.failed pre")
    page.locator("table.grid td[data-rate] a").last.click()
    until(page, "document.querySelector('.cell:target').open")


def test_themes(page_file: Path, open_page: Open) -> None:
    """The system's wish, then the reader's, which stays."""
    light, dark = "rgb(247, 247, 245)", "rgb(17, 20, 23)"
    paper = "getComputedStyle(document.body).backgroundColor"
    assert open_page(page_file, color_scheme="light").evaluate(paper) == light
    page = open_page(page_file, color_scheme="dark")
    assert page.evaluate(paper) == dark
    page.click("#theme")
    assert page.inner_text("#theme span") == "light"
    assert page.evaluate(paper) == light
    page.reload()
    assert page.evaluate(paper) == light
    page.click("#theme")
    page.click("#theme")
    assert page.inner_text("#theme span") == "auto"


@pytest.mark.parametrize("width", [320, 390, 820])
def test_narrow_pages_do_not_scroll_sideways(page_file: Path, open_page: Open, width: int) -> None:
    """Wide tables scroll within themselves; fixed things stay on the page."""
    page = open_page(page_file, viewport={"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(one => (one.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#filter").is_visible()
    assert page.locator("#theme").is_visible()


def test_a_phone_sees_the_whole_answer(page_file: Path, cpu_file: Path, open_page: Open) -> None:
    """The main figure has a narrow form, which the screen holds without scrolling; it names what 1× is."""
    visible = "all => all.filter(one => one.checkVisibility()).map(one => one.getAttribute('class'))"
    reach = "all => all.map(one => one.closest('.scroll').scrollWidth - one.closest('.scroll').clientWidth)"
    for file, named in ((page_file, "the CPU of its own environment"), (cpu_file, "torch/cpu fp32 eager")):
        phone = open_page(file, viewport={"width": 390, "height": 844})
        assert phone.eval_on_selector_all("figure.answer svg", visible) == ["narrow"]
        assert phone.eval_on_selector_all("figure.answer svg.narrow", reach) == [0]
        assert named in phone.inner_text("figure.answer figcaption")
        assert open_page(file).eval_on_selector_all("figure.answer svg", visible) == ["wide"]


def widths(page: Any) -> list[tuple[str, int]]:
    """What scrolls sideways, and by how many pixels."""
    found: list[tuple[str, int]] = page.eval_on_selector_all(
        ".scroll",
        """all => all.map(one => [one.getAttribute("aria-label"), one.scrollWidth - one.clientWidth])
                  .filter(([, over]) => over > 1)""",
    )
    return [(label, over) for label, over in found]


def test_the_list_fits_a_desktop(page_file: Path, sample_file: Path, open_page: Open) -> None:
    """No column of it lies beyond the edge."""
    for file in (page_file, sample_file):
        page = open_page(file)
        assert [one for one in widths(page) if one[0] == "list of all cells"] == []
        page.evaluate("document.querySelectorAll('table.cells td').forEach(one => (one.style.whiteSpace = 'nowrap'))")
        page.evaluate("document.querySelector('table.cells td').textContent = 'a very long name '.repeat(9)")
        assert [one for one in widths(page) if one[0] == "list of all cells"], "the check can fail"


def test_what_scrolls_shows_it_at_its_edge(page_file: Path, open_page: Open) -> None:
    """A fade at the right, which goes at the end and under the keyboard's focus; none where nothing scrolls."""
    page = open_page(page_file, viewport={"width": 390, "height": 844})
    mask = "one => getComputedStyle(one).maskImage"
    grid = page.locator(".scroll:has(table.grid)").first
    grid.scroll_into_view_if_needed()
    fade = "one => getComputedStyle(one).getPropertyValue('--fade')"
    assert "gradient" in grid.evaluate(mask)
    assert grid.evaluate(fade) == "44px"
    grid.evaluate("one => one.scrollTo(one.scrollWidth, 0)")
    until(page, f"({fade})(document.querySelector('.scroll:has(table.grid)')) === '0px'")
    grid.evaluate("one => one.scrollTo(0, 0)")
    page.keyboard.press("Tab")
    grid.focus()
    assert grid.evaluate(mask) == "none"
    assert page.locator("figure.answer .scroll").evaluate(mask) == "none"


def test_paper_cuts_no_column(page_file: Path, cpu_file: Path, sample_file: Path, open_page: Open) -> None:
    """A4 less its margins is 718 px wide; nothing scrolls there."""
    for file in (page_file, cpu_file, sample_file):
        page = open_page(file, viewport={"width": 718, "height": 1000})
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert widths(page) == []
        page.evaluate("document.querySelectorAll('.course td').forEach(one => (one.style.whiteSpace = 'nowrap'))")
        page.evaluate("document.querySelector('table.course').style.fontSize = '14px'")
        assert widths(page), "the check can fail"


def test_print_shows_all_reasons_and_no_controls(page_file: Path, open_page: Open, tmp_path: Path) -> None:
    page = open_page(page_file, color_scheme="dark")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for hidden in (".bar", ".toolbar", "button.download"):
        assert not page.locator(hidden).first.is_visible()
    square = "getComputedStyle(document.querySelector('table.grid td.unsupported'), '::after').content"
    assert REASON in page.evaluate(square)
    assert page.locator("details:not([open])").count() == 0
    assert page.locator(".problem.failed pre").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 50
    page.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").stat().st_size > 100_000


def test_raw_samples_are_the_lines_of_the_store(run: Path, page_file: Path, open_page: Open, tmp_path: Path) -> None:
    stored = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    page = open_page(page_file)
    for button, wanted in (
        (page.locator("button.download").first, stored),
        (None, [one for one in stored if one["cell_id"] == stored[3]["cell_id"]]),
    ):
        if button is None:
            page.evaluate(f"document.getElementById('cell-{stored[3]['cell_id']}').open = true")
            button = page.locator(f"#cell-{stored[3]['cell_id']} button.download")
        with page.expect_download() as download:
            button.click()
        download.value.save_as(tmp_path / "raw.jsonl")
        assert [json.loads(line) for line in (tmp_path / "raw.jsonl").read_text().splitlines()] == wanted


def test_charts_tell_on_hover_and_zoom(page_file: Path, open_page: Open) -> None:
    page = open_page(page_file, "scaling")
    figure = page.locator("section[aria-labelledby=scaling] figure.chart").first
    figure.locator(".u-wrap canvas").wait_for()
    over = figure.locator(".u-over")
    box = over.bounding_box()
    page.mouse.move(box["x"] + 0.99 * box["width"], box["y"] + 0.2 * box["height"])
    until(page, "document.querySelector('[aria-labelledby=scaling] .u-value').textContent === '64'")
    assert "samples/s ±" in figure.locator(".u-legend").inner_text()
    scale = "(axis) => document.querySelector('[aria-labelledby=scaling] figure').plot.scales[axis].max"
    whole = page.evaluate(scale, "x")
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.8 * box["height"], steps=4)
    page.mouse.up()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    assert page.evaluate("document.querySelector('[aria-labelledby=scaling] figure').plot.scales.x.min") > 2
    over.dblclick()
    until(page, f"({scale})('x') === {whole}")
    assert page.evaluate("document.querySelector('[aria-labelledby=scaling] figure').plot.scales.x.min") < 1


def test_the_legend_shows_shape_and_dash_and_no_axis(page_file: Path, open_page: Open) -> None:
    """No two entries look alike, even without colour; the x axis is none of them; names end in nothing."""
    for section in ("scaling", "precision"):
        page = open_page(page_file, section)
        figure = page.locator(f"section[aria-labelledby={section}] figure.chart").first
        figure.locator("canvas").first.wait_for()
        rows = figure.locator(".u-series:visible")
        spec = json.loads(figure.locator("script").text_content())
        assert [one.strip() for one in rows.locator(".u-label").all_inner_texts()] == [
            one["label"] for one in spec["series"]
        ]
        colon = "one => getComputedStyle(one.querySelector('th'), '::after').content"
        assert rows.first.evaluate(colon) == "none"
        shapes = """all => all.map(one => {
            const {data} = one.getContext("2d").getImageData(0, 0, one.width, one.height);
            return data.filter((_, at) => at % 4 === 3).map(alpha => alpha > 127 ? 1 : 0).join("");
        })"""
        drawn = rows.locator("canvas").evaluate_all(shapes)
        assert len(drawn) == len(spec["series"])
        assert len(set(drawn)) == len(drawn), "two markers are the same but for their colour"
        assert all("1" in one for one in drawn)


def test_keyboard_reaches_everything(page_file: Path, open_page: Open) -> None:
    """The first stop leads past the bar; where the focus is, is seen; wide tables can be scrolled."""
    page = open_page(page_file)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#answers"
    page.focus("#baseline")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "filter"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    unreachable = page.eval_on_selector_all(".scroll, pre", "all => all.filter(one => one.tabIndex < 0).length")
    assert unreachable == 0


def test_without_scripts_everything_is_there(page_file: Path, open_page: Open) -> None:
    """No dead controls; reasons as titles; still pictures."""
    page = open_page(page_file, java_script_enabled=False)
    assert not page.locator(".toolbar").is_visible()
    assert page.locator("figure.chart svg").first.is_visible()
    assert FAILED in (page.locator("table.grid td.failed").first.get_attribute("title") or "")


def test_planted_scripts_never_run(hostile_file: Path, open_page: Open) -> None:
    """Text of records is text, also in charts, hover and downloads; and were it not, the policy would stop it."""
    page = open_page(hostile_file)
    page.evaluate("document.querySelectorAll('details').forEach(one => (one.open = true))")
    page.fill("#filter", "planted")
    page.fill("#filter", "")
    page.locator("table.grid td[data-tip]").first.hover()
    page.select_option("#baseline", index=1)
    for figure in page.locator("figure.chart").all():
        figure.scroll_into_view_if_needed()
    page.locator("figure.chart canvas").first.wait_for()
    assert page.evaluate("window.planted") is None
    assert page.locator("img").count() == 0
    assert page.evaluate("document.scripts.length") == page.locator("script[type='application/json']").count() + 1
    assert page.faults == []
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.planted = 4\">')")
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.planted = 5'}))")
    page.evaluate("document.body.append(Object.assign(document.createElement('i'), {style: 'color: red'}))")
    page.wait_for_timeout(200)
    assert page.evaluate("window.planted") is None
    assert len([fault for fault in page.faults if "Content Security Policy" in fault]) >= 2, "the check can fail"
    page.faults.clear()


def axe(page: Any) -> list[str]:
    """Serious and critical findings: rule, and the first element that broke it."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
def test_axe_finds_nothing_serious(page_file: Path, open_page: Open, theme: str, width: int) -> None:
    """With everything open, as drawn and in both themes."""
    page = open_page(page_file, color_scheme=theme, viewport={"width": width, "height": 900}, bypass_csp=True)
    page.evaluate("document.querySelectorAll('details:not(.cell)').forEach(one => (one.open = true))")
    page.evaluate("document.querySelectorAll('.cell').forEach((one, at) => (one.open = at < 5))")
    page.locator("figure.chart").first.scroll_into_view_if_needed()
    page.locator("figure.chart canvas").first.wait_for()
    assert axe(page) == []
    page.evaluate("document.querySelector('h1').style.color = '#bbbbbb0f'")
    assert [one for one in axe(page) if one.startswith("color-contrast")], "the check can fail"
