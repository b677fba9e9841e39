"""The report: what it must show, what it must never show, and that text from records stays text."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from bench.cell import Cell
from bench.report import as_markdown, numbers, write_report
from bench.report.facts import (
    accelerations,
    against,
    by_work,
    command_for,
    find_baselines,
    leaders,
    outcome_counts,
    ratio,
    reference_words,
    where,
)
from bench.report.headline import headline
from bench.report.machines import machine_of
from bench.report.pictures import FIRST_WORKS, MAX_LINES, MAX_WORKS
from bench.report.terminal import terminal_table
from bench.summary import CellSummary, Interval
from tests.report_fixtures import (
    META,
    cell,
    comparisons,
    fingerprint,
    grid,
    many,
    measured,
    without_speed,
    wrong,
)

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Balance(HTMLParser):
    """Collects tags, ids and targets, and complains about elements that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.targets += [(value or "")[1:] for name, value in attrs if name in ("href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def parsed(text: str) -> Balance:
    parser = Balance()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


def without_figures(text: str) -> str:
    """The page without its figures as data, the one script element that may be there; it has no ``<`` inside."""
    rest, count = re.subn(r'<script type="application/json" id="twinbench-figures">[^<]*</script>\n', "", text)
    assert count == 1
    return rest


def page(summaries: list[CellSummary], folder: Path, **meta: object) -> str:
    path = write_report(summaries, comparisons(), replace(META, **meta), folder / "deep" / "report.html")  # type: ignore[arg-type]
    return path.read_text(encoding="utf-8")


def shown_in(text: str) -> str:
    """What a page tells of its records: not its style sheet, script and licences, nor coordinates in its figures."""
    text = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    body, _, rest = text.partition("<footer>")
    body = re.sub(r"<(path|use|rect|g|text|clipPath)\b[^>]*>", "", body)
    data = re.search(r'<script type="application/json" id="page-data">.*?</script>', rest, flags=re.DOTALL)
    assert data is not None
    return body + data[0]


def terminal(summaries: list[CellSummary], baseline: str = "", width: int = 200) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(terminal_table(summaries, baseline))
    console.file.close()
    return console.export_text()


@pytest.fixture(scope="module")
def full_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page(grid(synthetic_gpu=True), tmp_path_factory.mktemp("page"))


def hash_of(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_page_is_whole_and_fetches_nothing(full_page: str) -> None:
    parser = parsed(without_figures(full_page))
    assert len(parser.ids) == len(set(parser.ids))
    assert set(parser.targets) - {"ata:,"} <= set(parser.ids), "ata:, is the empty icon"
    assert not {"img", "iframe", "object", "base", "embed"} & set(parser.tags)
    assert parser.tags.count("link") == full_page.count('<link rel="icon" href="data:,">') == 1
    outside = [value for name, value in parser.attributes if "//" in value and not name.startswith("xmlns")]
    assert outside == []
    assert not [name for name, _ in parser.attributes if name.startswith("on") or name in ("style", "src")]


def test_policy_lets_one_script_and_one_style_through(full_page: str) -> None:
    """Both by their hash; what is no script (a chart's data) needs none."""
    found = re.search(r'Content-Security-Policy" content="([^"]*)"', full_page)
    assert found is not None
    policy = html.unescape(found[1])
    scripts = re.findall(r"<script>(.*?)</script>", full_page, flags=re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", full_page, flags=re.DOTALL)
    assert policy == (
        f"default-src 'none'; script-src '{hash_of(scripts[0])}'; style-src '{hash_of(styles[0])}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    assert len(scripts) == len(styles) == 1
    other = re.findall(r"<script ([^>]*)>", without_figures(full_page))
    assert set(other) <= {'type="application/json"', 'type="application/json" id="page-data"'}


def test_libraries_are_as_published_with_their_licences(full_page: str) -> None:
    folder = Path(__file__).parents[1] / "bench/report/assets"
    listed = dict(re.findall(r"`([\w.]+)` \| `([0-9a-f]{64})`", (folder / "README.md").read_text()))
    assert set(listed) == {path.name for path in folder.iterdir()} - {"README.md", "uPlot.LICENSE", "sortable.LICENSE"}
    assert {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in listed} == listed
    assert "Leon Sorokin" in full_page
    assert "free and unencumbered software" in full_page


def test_page_is_the_same_twice(full_page: str, tmp_path: Path) -> None:
    assert page(grid(synthetic_gpu=True), tmp_path) == full_page


def test_figures_are_xml_and_take_their_colours_from_the_page(full_page: str) -> None:
    figures = re.findall(r"<svg.*?</svg>", full_page, flags=re.DOTALL)
    figures = [figure for figure in figures if 'role="img"' in figure]
    assert len(figures) == 2 + 1 + 6 + 6, "answer, wide and narrow; comparisons; throughput and precision of six works"
    for figure in figures:
        xml.etree.ElementTree.fromstring(figure)
        assert "style=" not in figure
        assert re.findall(r"#[0-9a-f]{6}\b", figure.replace("url(#", "")) == []
    classes = re.findall(r"\.m\d+\{(.*?)\}", full_page)
    assert any("var(--ink)" in one for one in classes)
    assert not [one for one in classes if "#0f0f" in one]


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    digits = colour.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    shares = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_aa_in_light_dark_and_print() -> None:
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)
    style = (Path(__file__).parents[1] / "bench/report/templates/style.css").read_text()
    both = re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{3,6}), (#[0-9a-f]{3,6})\);", style)
    light, dark = {name: one for name, one, _ in both}, {name: other for name, _, other in both}
    printed = re.search(r"@media print \{\s*:root[^{]*\{ color-scheme: light;(.*?)\}", style)
    assert printed is not None
    paper = light | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", printed[1]))
    themes = [light, dark, paper]
    assert paper["bg"] == "#fff"
    tints = [f"{way}-{step}" for way in ("up", "down") for step in range(1, 5)]
    for theme in themes:
        pairs = [(ink, paper) for ink in ("ink", "soft") for paper in ("bg", "card", "bad-bg", *tints)]
        pairs += [(ink, paper) for ink in ("muted", "link", "warn", "bad", "good") for paper in ("bg", "card")]
        pairs += [("bad", "bad-bg"), *((ink, tint) for ink in ("warn", "good", "muted") for tint in tints)]
        weak = {pair: contrast(theme[pair[0]], theme[pair[1]]) for pair in pairs}
        assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}
        graphics = {number: contrast(theme[f"series-{number}"], theme["card"]) for number in range(6)}
        assert min(graphics.values()) >= 3


def test_sections_stand_in_the_order_of_the_questions(full_page: str) -> None:
    sections = re.findall(r'<h2 id="([^"]+)"', full_page)
    assert sections == ["answers", "grid", "works", "precision", "scaling", "roofline", "parity", "history", "selftest",
                        "machine", "timed", "cells"]  # fmt: skip
    for part in ("slower", "problems", "list", "comparisons", "coverage", "reproduce"):
        assert f'id="{part}"' in full_page


def test_every_cell_that_was_not_measured_shows_its_reason_twice(full_page: str) -> None:
    for one in grid(synthetic_gpu=True):
        if one.outcome != "measured":
            assert full_page.count(f'id="r-{one.cell.id}"') == 1
            assert f'href="#r-{one.cell.id}"' in full_page
        assert full_page.count(f'<details class="cell {one.outcome}" id="cell-{one.cell.id}">') == 1
    assert "could not allocate 3.1 GiB" in full_page
    assert "MemoryError: 3.1 GiB" in full_page, "log tail"


def spellings(rate: float) -> re.Pattern[str]:
    """The planted rate as it could come out: 987654.3, 987,654, 988 (k), 0.988 (M), 64.8 µs a batch."""
    return re.compile(r"64\.8|987[,.]?654|\b987[.,]\d|\b988\b|\b990,000\b|0\.98[78]\d?\b")


@pytest.mark.parametrize("outcome", ["wrong", "implausible"])
def test_a_wrong_cell_shows_no_speed_anywhere(outcome: str, tmp_path: Path) -> None:
    bad = replace(wrong(cell(environment="jax"), 987654.3), outcome=outcome)
    duet = [
        replace(one, cell_b=bad.cell, verdict=replace(one.verdict, ratio=Interval(5.4321, 5.4, 5.5)))
        for one in comparisons()[:1]
    ]
    summaries = [measured(cell(), 5e5), bad]
    text = shown_in(write_report(summaries, duet, META, tmp_path / "r.html").read_text())
    for shown in (text, as_markdown(summaries, duet, META), terminal(summaries)):
        assert spellings(987654.3).search(shown) is None
        assert "5.43" not in shown
        assert outcome in shown
    planted = write_report([measured(cell(), 5e5), replace(bad, outcome="measured")], duet, META, tmp_path / "s.html")
    assert spellings(987654.3).search(shown_in(planted.read_text())), "the pattern finds a rate that is shown"
    assert "5.43" in planted.read_text()


EVIL = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> {{ 7 * 7 }} [bold]x[/bold] `code` | $x_1$ \x1b[31m é漢🙂"
)


def test_text_from_records_is_never_markup(tmp_path: Path) -> None:
    evil_cell = cell(environment=EVIL, size=EVIL)
    evil_print = fingerprint(
        cell(), device_name=EVIL, machine={EVIL: EVIL}, variables={EVIL: EVIL}, versions={EVIL: EVIL}
    )
    good = replace(measured(evil_cell, 100.0), fingerprint=evil_print, tolerance_reason=EVIL, producer=EVIL, item=EVIL,
                   effective_precision=EVIL, labels={EVIL: 2})  # fmt: skip
    other = replace(measured(evil_cell.but(precision="fp16"), 300.0), fingerprint=evil_print)
    failed = without_speed(evil_cell.but(precision="bf16"), "failed", EVIL, log_tail=EVIL)
    meta = {"title": EVIL, "command": EVIL, "skipped_lines": (EVIL,), "runs": (EVIL,), "started_at": EVIL}
    text = without_figures(page([good, other, failed], tmp_path, **meta))
    parser = parsed(text)
    assert parser.tags.count("script") == 1 + text.count('<script type="application/json"')
    assert "img" not in parser.tags
    assert not [name for name, _ in parser.attributes if name.startswith("on")]
    assert "alert(1)</script>" not in text
    assert text.count("&lt;script&gt;") > 10
    assert "\\u003cscript" in text, "in a chart's data"
    assert "{{ 7 * 7 }}" in text
    summary = as_markdown([good, other, failed], [], replace(META, **meta))  # type: ignore[arg-type]
    assert "<script" not in re.sub(r"`[^`]*`", "", summary)
    bold = "[bold]x[/bold]"
    assert terminal([without_speed(cell(environment=bold), "failed", bold)]).count(bold) == 2


def test_no_measured_cell_says_so(tmp_path: Path) -> None:
    summaries = [without_speed(cell(), "failed", "open: ImportError"), wrong(cell(precision="fp16"), 5.0)]
    text = page(summaries, tmp_path)
    assert "Nothing can be said about speed: none of 2 cells gave a measurement." in text
    assert "nothing measured: no ratios" in text
    assert "Nothing can be said" in as_markdown(summaries, [], META)
    assert 'role="img"' not in shown_in(write_report(summaries, [], META, tmp_path / "x.html").read_text())


def test_no_cell_at_all(tmp_path: Path) -> None:
    assert "Nothing can be said" in page([], tmp_path)
    assert "No cells." in as_markdown([], [], META)
    assert terminal([])


def test_a_single_process_has_no_interval(tmp_path: Path) -> None:
    summaries = [measured(cell(), 1234.5, processes=1), measured(cell(environment="jax"), 9876.5, processes=1)]
    text = page(summaries, tmp_path)
    assert "1 process, no interval" in text
    assert "No winner can be named" in text
    assert "★" not in text
    assert ">9,900<" in text, "two digits of a number with unknown spread"
    assert "no interval: one process only" in terminal(summaries)
    assert "One cell was measured" in page(summaries[:1], tmp_path)


def test_unknown_facts_are_called_unknown(tmp_path: Path) -> None:
    bare = fingerprint(
        cell(), device_name=None, git_revision=None, machine={"cores": None}, power={}, weights_sha256=None
    )
    summaries = [
        replace(measured(cell(), 10.0), fingerprint=bare, stages_s={}),
        replace(measured(cell(size="b"), 9.0), fingerprint=None),
    ]
    found = machine_of(summaries)
    assert ("cores", "unknown") in found.shared
    assert found.environments[0].devices == "cpu: unknown"
    assert found.without == 1
    assert "No fingerprint for 1 cell:" in page(summaries, tmp_path)
    assert ">None<" not in page(summaries, tmp_path)


def test_differing_fingerprints_are_listed() -> None:
    prints = [
        fingerprint(cell(), machine={"os": system}, inputs_sha256=system * 8) for system in ("14.1", "15.2", "15.2")
    ]
    cells = [cell(), cell(precision="fp16"), cell(precision="bf16")]
    summaries = [replace(measured(one, 5.0), fingerprint=facts) for one, facts in zip(cells, prints, strict=True)]
    found = machine_of(summaries)
    assert ("os", ("15.2 (2 cells)", "14.1 (1 cell)")) in found.differing
    assert [one.same for one in found.work_bytes] == [False]
    loads = [
        replace(one, fingerprint=fingerprint(one.cell, power={"load": 1.5 + place}))
        for place, one in enumerate(summaries)
    ]
    assert ("power load", "1.5 to 3.5") in machine_of(loads).shared, "a reading, not a difference of machines"
    assert machine_of(loads).differing == ()
    versions = [replace(summaries[0], fingerprint=fingerprint(cell(), versions={"torch": v})) for v in ("2.1", "2.2")]
    assert machine_of(versions).environments[0].versions == "differs: torch 2.1  |  torch 2.2"


def test_figures_are_cut_and_say_so(tmp_path: Path) -> None:
    works = [measured(cell(size=f"s{work}", environment=f"e{i}"), 10.0 + i) for work in range(FIRST_WORKS + 1)
             for i in range(MAX_LINES + 5 if work == 0 else 8)]  # fmt: skip
    text = page(works, tmp_path)
    assert f"the first {MAX_LINES} of {MAX_LINES + 5} cells" in text
    assert text.count(f"the first {FIRST_WORKS} of {FIRST_WORKS + 1} works") == 2, "works, and precision"
    assert "e44/cpu" in text


def test_works_of_few_cells_are_light(tmp_path: Path) -> None:
    works = [measured(cell(size=f"s{work:02}", environment=f"e{i}"), 10.0 + i) for work in range(MAX_WORKS + 1)
             for i in range(2)]  # fmt: skip
    assert "Figures are drawn" not in page(works[: 2 * MAX_WORKS], tmp_path)
    assert page(works, tmp_path).count(f"the first {MAX_WORKS} of {MAX_WORKS + 1} works") == 2


def test_five_hundred_cells_stay_small(tmp_path: Path) -> None:
    text = page(many(500), tmp_path, skipped_lines=tuple(f"records.jsonl:{i}: truncated" for i in range(400)))
    assert len(text) < 2_400_000
    assert text.count("twinbench run s") == 0
    assert text.count("twinbench run mlp:s") == 500
    assert "and 350 more" in text
    comment = as_markdown(many(5000), [], META)
    assert len(comment) < 65_536
    assert re.search(r"The first \d+ of 67 works; the page has all\.", comment)


def test_long_reasons_are_shortened_in_squares_and_whole_below(tmp_path: Path) -> None:
    reason = "operator aten::very_long " * 200 + "END"
    text = page([measured(cell(), 5.0), without_speed(cell(precision="fp16"), "unsupported", reason)], tmp_path)
    assert f"<p>{reason}</p>" in text
    assert "very_long operator …" in text or "…</span>" in text
    assert all(len(line) < 220 for line in terminal([without_speed(cell(), "failed", reason)], width=200).splitlines())


@pytest.mark.parametrize(
    ("interval", "shown", "spread"),
    [
        (Interval(48213.0, 46800.0, 49700.0), "48,000", "±3 %"),
        (Interval(48213.0, 48100.0, 48330.0), "48,200", "±0.2 %"),
        (Interval(48213.0, 30000.0, 77000.0), "48,000", "30,000–77,000"),
        (Interval(84000.0, 76.0, 9.2e7), "84,000", "76–92,000,000"),
        (Interval(48213.0, None, None), "48,000", "no interval"),
        (Interval(0.0123, 0.0120, 0.0126), "0.0123", "±2 %"),
    ],
)
def test_rates_have_the_digits_their_interval_supports(interval: Interval, shown: str, spread: str) -> None:
    assert numbers.rate(interval) == shown
    assert numbers.spread(interval) == spread


def test_a_ratio_end_just_beyond_one_does_not_read_one() -> None:
    assert numbers.times_span(Interval(1.2, 1.04, 1.38)) == "1.04–1.38×"
    certain = Interval(0.909072, 0.909072, 0.909072)
    assert (numbers.times(certain), numbers.times_span(certain)) == ("0.90907×", "0.90907–0.90907×"), "like digits"
    assert numbers.times(Interval(43.2, 41.0, 45.5)) == "43×"
    hopeless = Interval(1.6, 0.0011, 2358.0)
    assert (numbers.times(hopeless), numbers.times_span(hopeless)) == ("1.6×", "0.0011–2,400×")
    assert numbers.times_span(Interval(1.6, 3.1e-9, 7.5e8)) == "<0.0001–>10,000×"
    assert numbers.times_span(Interval(9000.0, 20.0, 4e6)) == "20–4,000,000×", "not far from its estimate"


def test_a_cell_that_made_its_reference_says_so(tmp_path: Path) -> None:
    """JAX without torch read ``right, 0``: compared with its own output."""
    by_jax, by_numpy = "jax 0.10.2 cpu fp32", "NumPy float64"
    mine = cell(environment="jax", precision="fp32", device="cpu")
    assert reference_words(mine, by_jax, 0.0) == f"{by_jax} (itself)"
    for one, producer, error in (
        (mine, by_jax, 1e-7),
        (mine, by_numpy, 0.0),
        (mine.but(precision="bf16"), by_jax, 0.0),
        (mine.but(device="cuda"), by_jax, 0.0),
        (mine.but(environment="torch"), by_jax, 0.0),
    ):
        assert reference_words(one, producer, error) == producer
    assert reference_words(mine.but(environment="jax-metal-cpu"), by_jax, 0.0).endswith("(itself)")
    by_torch = "torch 2.13.0+cpu cpu fp32"
    assert reference_words(mine.but(environment="torch"), by_torch, 0.0).endswith("(itself)")
    assert reference_words(mine.but(environment="torch@newest"), by_torch, 0.0) == by_torch, "made by the pinned one"
    assert reference_words(mine, None, None) == ""
    assert "(itself)" in page([replace(measured(mine, 5.0), producer=by_jax, error=0.0)], tmp_path)


def test_ratio_interval_covers() -> None:
    """On exact logs the interval of a ratio of equal sides is the square root of two times as wide as theirs."""
    side = Interval(100.0, 100 / 1.1, 110.0)
    found = ratio(side, side)
    assert found.estimate == 1
    assert found.high == pytest.approx(1.1**2**0.5)
    assert found.low == pytest.approx(1.1 ** -(2**0.5))
    assert ratio(side, Interval(50.0, None, None)) == Interval(2.0, None, None)


def test_baselines() -> None:
    works = [
        measured(cell(environment="jax", mode="compiled"), 5.0),
        wrong(cell(), 9.0),
        measured(cell(precision="fp16"), 7.0),
    ]
    work = works[0].cell.work
    assert find_baselines(works, "")[work] is works[0], "the default one is wrong, so the first measured"
    assert find_baselines(works, "torch/*/fp16")[work] is works[2]
    assert find_baselines(works, "mlx") == {}
    right = [*works, measured(cell(), 3.0)]
    assert find_baselines(right, "")[work].cell == cell()
    assert against(works[1], works[0]) is None, "a wrong cell has no ratio"
    assert "no measured cell fits the baseline 'mlx' in 1 works" in terminal(works, "mlx")
    assert "baseline" in terminal(right)


def test_acceleration_is_over_common_cells_with_the_rest_listed() -> None:
    gpu = {"device": "cuda"}
    summaries = [
        measured(cell(), 10.0), measured(cell(**gpu), 20.0),
        measured(cell(mode="compiled"), 10.0), measured(cell(mode="compiled", **gpu), 80.0),
        wrong(cell(precision="fp16"), 1.0), measured(cell(precision="fp16", **gpu), 999.0),
        measured(cell(environment="jax"), 10.0), measured(cell(environment="jax-mps", device="metal"), 50.0),
    ]  # fmt: skip
    cuda, metal = accelerations(summaries)
    assert cuda.gain == pytest.approx(4.0)
    assert cuda.pairs == 2
    assert [reason.rsplit(": ", 1)[1] for reason in cuda.excluded] == ["wrong on the CPU"]
    assert metal.gain == pytest.approx(5.0), "the plain environment of the family is the CPU side"


def test_overlapping_intervals_share_the_top() -> None:
    fast, near, slow = measured(cell(), 100.0), measured(cell(mode="compiled"), 98.0), measured(cell(mode="xla"), 50.0)
    assert leaders([slow, near, fast]) == ([fast, near], False)
    assert leaders([slow, fast]) == ([fast], True)
    assert leaders([fast]) == ([], False)
    assert "no clear winner" in headline([fast, near, slow], "")
    assert headline([slow, fast], "") == (
        "mlp:digits inference, batch 64: torch/cpu fp32 eager is fastest, and is the baseline."
    )


def test_command_for_is_what_a_shell_reads_back() -> None:
    one = Cell("mlp", "it's; rm -rf $HOME", "training", "adam", 64, "torch", "cpu", "fp32", "eager")
    words = shlex.split(command_for(one))
    assert words[:3] == ["twinbench", "run", "mlp:it's; rm -rf $HOME"]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    assert options == {"--phase": "training", "--variant": "adam", "--environment": "torch", "--device": "cpu",
                       "--precision": "fp32", "--mode": "eager", "--batch": "64"}  # fmt: skip


def test_terminal_table_has_a_row_for_every_cell() -> None:
    summaries = grid()
    text = terminal(summaries)
    rows = [line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")]
    assert [row for row in rows if row.endswith(("eager", "compiled"))] == [
        where(one.cell) for members in by_work(summaries).values() for one in members
    ]
    assert len(by_work(summaries)) == 6
    assert outcome_counts(summaries) == {"measured": 69, "wrong": 1, "unsupported": 3, "failed": 1, "timed_out": 1}
    assert "wrong: outputs: error 0.31" in text


def test_markdown_says_what_bold_means_and_where_it_was_measured() -> None:
    """Machine, versions and noise in three lines: a comment on a pull request stands without its page."""
    facts = fingerprint(measured(cell(), 1.0).cell, versions={"torch": "2.14.0", "numpy": "2.4.6"},
                        machine={"chip": "Imagined <M9>", "memory_bytes": 2**34, "os_version": "16.1"})  # fmt: skip
    fast = replace(measured(cell(), 200.0), fingerprint=facts, labels={"stable": 3, "noisy": 2})
    slow = replace(measured(cell(mode="compiled"), 100.0), fingerprint=facts, labels={"stable": 5})
    text = as_markdown([fast, slow], [], META)
    assert "Bold: the fastest of its precision, its interval above all others." in text
    assert "- Machine: Imagined &lt;M9&gt;; 16.0 GiB; 16.1" in text
    assert "- Versions: torch: numpy 2.4.6, torch 2.14.0" in text
    assert "- Noise: 8 of 10 processes stable; 2 noisy" in text
    bare = as_markdown([replace(slow, fingerprint=None, labels={})], [], META)
    assert "Bold:" not in bare
    assert "- Machine: not recorded" in bare
    versions = {f"package-{number}": "1" * 40 for number in range(500)}
    wide = replace(fast, fingerprint=fingerprint(cell(), versions=versions))
    assert len(as_markdown([wide], [], META)) < 3_000, "pull-request size"


def test_terminal_and_markdown_import_neither_pandas_nor_matplotlib() -> None:
    code = (
        "import sys; import bench.report.terminal, bench.report.markdown;"
        "print(sorted({'pandas', 'matplotlib', 'jinja2', 'scipy', 'torch'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
