"""The compare page: order, what is hidden, what it would take, what differs around it; as HTML, Markdown and CSV."""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import publishing, store
from bench.cell import Cell
from bench.compare import compare_runs
from bench.report import compare_markdown, compare_page, csv_table, weighing
from bench.report.differences import surroundings
from bench.report.machines import machine_of
from bench.report.weighing import by_strength, needs
from bench.summary import CellSummary, summarise
from bench.verdict import Comparison
from tests.harness import Cli, command_line
from tests.report_fixtures import measured
from tests.samples import CELL, MS, fingerprint
from tests.stored_runs import EVIL, one_of_each, other_machine, several, write
from tests.test_report import parsed, without_figures

A, B = "20261121-100000-aaaa", "20261122-100000-bbbb"
CELLS = [CELL.but(batch=2**number) for number in range(6)]
#: Time of B over that of A; 3.5 % is too near to the margin to be told.
FACTORS = (0.1, 1.0, 1.035, 0.66, 1.0, 2.0)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command line in a folder with two runs on machines that differ."""
    monkeypatch.chdir(tmp_path)
    times = dict.fromkeys(CELLS, 5.0 * MS)
    write(Path("results"), A, [*several(times, 5, scatter=0.002), *several({CELL.but(mode="xla"): 5.0 * MS})])
    changed = dict(zip(CELLS, (factor * 5 * MS for factor in FACTORS), strict=True))
    write(Path("results"), B, several(changed, 5, seed=1, scatter=0.002, fingerprint=other_machine()))
    return command_line(monkeypatch, capsys)


def compared(a: str = A, b: str = B, session_sd: float = 0.005) -> compare_page.Compared:
    return publishing.compared(Path("results"), a, b, 0.03, session_sd, frozenset(), "")


def test_the_page_is_whole_fetches_nothing_and_runs_nothing(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("report", "--compare", A, B, "--session-sd", "0.005")
    assert code == 0
    assert f"report: reports/{A}..{B}.html" in out
    text = without_figures((tmp_path / "reports" / f"{A}..{B}.html").read_text())
    parser = parsed(text)
    assert len(parser.ids) == len(set(parser.ids))
    assert not {"script", "img", "iframe", "object", "base"} & set(parser.tags)
    assert parser.tags.count("link") == text.count('<link rel="icon" href="data:,">') == 1
    style = re.search(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"content=\"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri" in html.unescape(text)
    assert not [name for name, _ in parser.attributes if name == "style" or name.startswith("on")]
    assert not [value for name, value in parser.attributes if "//" in value]
    assert text.index('id="surroundings"') < text.index('id="cells"'), "what differs comes first"
    assert cli("report", "--compare", A, B, "--recheck")[0] == 0, "the page knows its margin and its scatter"


def test_cells_stand_by_strength_of_evidence(cli: Cli) -> None:
    rows = compare_page.values(compared())["rows"]
    order = [(row.word, re.search(r" b(\d+) ", row.cell)[1]) for row in rows]  # type: ignore[index]
    assert [word for word, _ in order] == ["faster", "slower", "faster", "inconclusive", "same", "same"]
    assert [batch for _, batch in order[:4]] == ["1", "32", "8", "4"], "ten times before two before half"


def test_what_is_the_same_is_hidden_until_asked_for_and_printed(cli: Cli) -> None:
    """A checkbox before the table and one rule of style: nothing that a policy could forbid."""
    text = compare_page.render(compared())
    assert '<input class="switch" type="checkbox" id="show-same">' in text
    assert '<input class="switch" type="checkbox" id="show-inconclusive" checked>' in text
    assert "#show-same:not(:checked) ~ .cells tr.same" in text
    assert text.index('id="show-same"') < text.index('<div class="cells">')
    assert text.count('<tr class="same">') == 2
    assert "show 2 that are the same" in text
    assert re.search(r"@media print \{[^@]*tr\.same[^}]*display: table-row !important", text)


def test_every_row_has_its_interval_and_the_margin_drawn(cli: Cli) -> None:
    values = compare_page.values(compared())
    for row in values["rows"]:
        bar = row.bar
        assert 0 <= bar.band[0] < bar.one < bar.band[1] <= compare_page.WIDTH
        assert bar.low is not None
        assert bar.high is not None
        assert bar.low <= bar.at <= bar.high
        beyond = bar.low >= bar.band[1] or bar.high <= bar.band[0]
        assert beyond == (row.word in ("faster", "slower")), "the drawing and the word agree"
    assert compare_page.render(compared()).count('<rect class="band"') == len(CELLS)


def test_inconclusive_says_what_it_would_take(cli: Cli) -> None:
    third = "20261123-100000-cccc"
    write(Path("results"), third, several({CELLS[0]: 4.6 * MS}, 4, scatter=0.05))
    (row,) = compare_page.values(compared(A, third, session_sd=0.0))["rows"]
    assert row.word == "inconclusive"
    assert re.match(r"a difference below \d+ % would not have shown; about \d+ processes a side", row.needs)
    assert row.why == "5 and 4 processes"
    noisy = compare_page.values(compared(session_sd=0.22))["rows"]
    stuck = [row for row in noisy if row.word == "inconclusive"]
    assert len(stuck) > 1
    assert all(row.needs.endswith("would not have shown; no number of processes would tell") for row in stuck)
    values = compare_page.values(compared(session_sd=0.22))
    page = " ".join(compare_page.render(compared(session_sd=0.22)).split())
    assert "the scatter between sessions (0.22 on a log) stays" in values["limit"]
    assert page.count(html.escape(values["limit"])) == 1, "said once, above the table"
    assert page.index(html.escape(values["limit"])) < page.index('<div class="cells">')
    assert values["limit"] in compare_markdown.render(compared(session_sd=0.22)).replace("\\", "")
    assert compare_page.values(compared(session_sd=0.0))["limit"] == ""
    rows = list(csv.DictReader(io.StringIO(csv_table.compared(compared(session_sd=0.22)))))
    assert all("scatter between sessions" in row["needs"] for row in rows if row["verdict"] == "inconclusive")


@pytest.mark.parametrize("session_sd", [0.0, 0.01, 0.22, 1.0])
@pytest.mark.parametrize("processes", [2, 3, 30, 300])
def test_more_processes_never_need_a_larger_difference_than_these(session_sd: float, processes: int) -> None:
    """What no number of processes would show lies below what these would not have shown."""
    random = np.random.RandomState(7)
    for scatter in (1e-9, 0.01, 0.5):
        sides = [
            replace(measured(CELL, 1.0), rates=tuple(np.exp(random.normal(0, scatter, processes))), fingerprint=None)
            for _ in range(2)
        ]
        one = compare_runs(sides[:1], sides[1:], 0.03, session_sd).comparisons[0]
        reach = weighing.reach(one, {CELL: sides[0]}, {CELL: sides[1]}, 0.03, session_sd)
        assert reach is not None
        assert weighing.limit(0.03, session_sd) <= reach * (1 + 1e-12)
        assert weighing.limit(0.03, session_sd) > math.log(1.03) - 1e-12


def test_the_mean_holds_the_scatter_between_sessions(cli: Cli) -> None:
    """Each of the cells may be inconclusive by that scatter: their mean must not look surer than they are."""
    told = compare_page.values(compared(session_sd=0.22))["mean"]
    assert "over the choice of cells and two sessions, 0.22 of log time each" in told
    assert "session" not in compare_page.values(compared(session_sd=0.0))["mean"]


def test_as_many_processes_as_it_says_are_enough() -> None:
    """Four in five of so many processes, at the scatter that was seen, come to a verdict; of a third, fewer do."""
    random = np.random.RandomState(3)

    def side(count: int, shift: float) -> CellSummary:
        return replace(measured(CELL, 1.0), rates=tuple(np.exp(random.normal(shift, 0.05, count))), fingerprint=None)

    def one(count: int) -> Comparison:
        return compare_runs([side(count, 0.0)], [side(count, 0.09)], 0.03, 0.0).comparisons[0]

    a = replace(measured(CELL, 1.0), rates=tuple(np.exp([-0.05, 0.05, 0.0])), fingerprint=None)
    b = replace(a, rates=tuple(np.exp([0.04, 0.14, 0.09])))
    found = compare_runs([a], [b], 0.03, 0.0).comparisons[0]
    text = needs(found, {CELL: a}, {CELL: b}, 0.03, 0.0)
    count = int(re.search(r"about (\d+) processes", text)[1])  # type: ignore[index]
    told = np.mean([one(count).verdict.word == "faster" for _ in range(300)])
    fewer = np.mean([one(max(2, count // 3)).verdict.word == "faster" for _ in range(300)])
    assert told == pytest.approx(0.8, abs=0.1)
    assert fewer < 0.6


def test_one_process_a_side_says_how_many_give_an_interval() -> None:
    one = replace(measured(CELL, 100.0, processes=1), fingerprint=None)
    (found,) = compare_runs([one], [one]).comparisons
    assert "one process on a side gives no interval" in needs(found, {CELL: one}, {CELL: one}, 0.03, 0.22)
    (row,) = by_strength([found])
    assert row.verdict.word == "inconclusive"


def test_differences_around_the_figures(cli: Cli) -> None:
    found = compared()
    around = surroundings(found.rows_a, found.rows_b)
    told = {one.fact: (one.a, one.b) for one in around.differing}
    assert told == {
        "torch: torch": ("2.14.0", "2.15.0"),
        "memory bytes": ("not recorded", "17179869184"),
    }
    assert around.sentence.startswith("The runs differ in torch: torch (2.14.0 → 2.15.0)")
    assert not around.readings
    same = surroundings(found.rows_a, found.rows_a)
    assert same.differing == ()
    assert same.alike > around.alike
    assert "No recorded fact differs" in same.sentence


def test_hashes_in_sentences_are_short() -> None:
    """Forty digits say no more than twelve, and fill a line."""
    sides = [[replace(measured(CELL, 1.0), fingerprint=fingerprint(git_revision=digit * 40))] for digit in "ab"]
    around = surroundings(*sides)
    assert around.sentence == "The runs differ in git revision (aaaaaaaaaaaa → bbbbbbbbbbbb)."
    own = [replace(one, fingerprint=fingerprint(git_revision="c" * 40 + "-dirty")) for one in sides[0]]
    assert "cccccccccccc-dirty" in surroundings(sides[0], own).sentence
    assert dict(machine_of(sides[0]).shared)["git revision"] == "a" * 12


def test_an_interval_that_leaves_the_axis_has_an_arrow_there(cli: Cli) -> None:
    rows = compare_page.values(compared(session_sd=3.0))["rows"]
    assert all(row.bar.cut == (True, True) for row in rows)
    text = compare_page.render(compared(session_sd=3.0))
    assert text.count('class="arrow"') == 2 * len(rows)
    assert 'interval goes on beyond both ends"' in text
    narrow = compare_page.values(compared())["rows"]
    assert all(row.bar.cut == (False, False) for row in narrow)
    assert 'class="arrow"' not in compare_page.render(compared())


def test_facts_that_forbid_a_comparison_are_marked_and_readings_stand_apart() -> None:
    def rows(**facts: object) -> list[CellSummary]:
        return [replace(measured(CELL, 1.0), fingerprint=fingerprint(**facts))]

    around = surroundings(
        rows(power={"load_1min": 0.5, "governor": "performance"}, threads=4, machine={"gpu": {"name": "x"}}),
        [
            *rows(power={"load_1min": 2.5, "governor": "powersave"}, threads=8, machine={"gpu": {"name": "x"}}),
            *rows(power={"load_1min": 3.5, "governor": "powersave"}, threads=8, machine={"gpu": {"name": "x"}}),
        ],
    )
    assert [(one.fact, one.forbids) for one in around.differing] == [("threads", True), ("power: governor", True)]
    assert [(one.fact, one.a, one.b) for one in around.readings] == [("power: load 1min", "0.5", "2.5 to 3.5")]


def test_cells_of_one_run_only_and_refused_ones_are_listed_with_their_reason(cli: Cli, tmp_path: Path) -> None:
    assert compare_page.values(compared())["left_out"] == [(CELL.but(mode="xla").label, "in A only")]
    third = "20261123-100000-cccc"
    write(tmp_path / "results", third, several(dict.fromkeys(CELLS, 5.0 * MS), fingerprint=fingerprint(threads=7)))
    values = compare_page.values(compared(A, third))
    assert values["rows"] == []
    assert values["headline"] == "Nothing can be said: none of 6 cells that both have could be compared."
    assert "threads differs: 1 against 7" in dict(values["left_out"])[CELLS[0].label]
    assert "No cell could be compared." in compare_page.render(compared(A, third))


def test_a_wrong_cell_has_no_ratio_in_any_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("results"), A, one_of_each())
    write(Path("results"), B, one_of_each())
    found = compared()
    wrong = CELL.but(precision="fp16").label
    assert wrong not in [row.cell for row in compare_page.values(found)["rows"]]
    assert "wrong" in dict(compare_page.values(found)["left_out"])[wrong]
    (row,) = [row for row in csv.DictReader(io.StringIO(csv_table.compared(found))) if row["precision_b"] == "fp16"]
    assert (row["verdict"], row["ratio"], row["p_value"]) == ("", "", "")


def test_text_from_records_is_never_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    evil = Cell(EVIL, EVIL, "inference", EVIL, 1, EVIL, "cpu", "fp32", EVIL)
    for name, value in ((A, EVIL), (B, EVIL[::-1])):
        facts = fingerprint(machine={"chip": "x", EVIL: value}, versions={EVIL: value}, variables={EVIL: value})
        write(Path("results"), name, several({evil: 5.0 * MS}, fingerprint=facts), command=EVIL)
    found = replace(compared(), title=EVIL, problems=(EVIL,))
    text = without_figures(compare_page.render(found))
    parser = parsed(text)
    assert not {"script", "img"} & set(parser.tags)
    assert not [name for name, _ in parser.attributes if name.startswith("on")]
    assert text.count("&lt;script&gt;") > 10
    assert "49" not in re.findall(r"alert\(2\)&gt; (\S+) ", text)
    markdown = compare_markdown.render(found)
    assert "<script" not in re.sub(r"`[^`]*`", "", markdown)
    rows = list(csv.DictReader(io.StringIO(csv_table.compared(found))))
    assert rows[0]["workload_a"] == " ".join(EVIL.split())


def test_markdown_folds_the_rest_and_fits(cli: Cli) -> None:
    _, text, _ = cli("report", "--compare", A, B, "--session-sd", "0.005", "--format", "markdown")
    assert "| **faster** | 9.99×" in text
    assert text.index("**faster**") < text.index("| torch: torch | 2.14.0 | 2.15.0 |")
    assert "<details><summary>1 inconclusive</summary>" in text
    assert "<details><summary>2 the same</summary>" in text
    assert text.count("<details>") == text.count("</details>")
    rows = [replace(measured(CELL.but(size=f"{EVIL}{n}"), 9.0 + n % 3), fingerprint=None) for n in range(3000)]
    many = compare_runs(rows, rows, 0.03, 0.22)
    found = compare_page.Compared(A, B, rows, rows, many.comparisons, many.mean, 0.03, 0.22)
    long = compare_markdown.render(found)
    assert len(long) < 65_536
    assert re.search(r"Here [\d,]+ lines were cut: the page has all\.", long)
    assert long.count("<details>") == long.count("</details>")
    assert long.endswith("twinbench 0.1.0.\n")


def test_csv_has_a_row_for_every_pair_and_every_documented_column(cli: Cli) -> None:
    _, text, _ = cli("report", "--compare", A, B, "--format", "csv", "--session-sd", "0.005")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len(CELLS)
    assert list(rows[0]) == list(csv_table.COMPARED)
    assert rows[0]["verdict"] == "faster"
    assert float(rows[0]["ratio"]) == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--compare", A, A), f"A and B are both results/{A}, and it holds no duets: name two runs"),
        (("--compare", A, "nowhere"), "unknown run 'nowhere'"),
        ((A, "--compare", A, B), "RUN and --compare do not go together"),
        (("--index", "--compare", A, B), "--compare and --index do not go together"),
        (("--index", "--format", "csv"), "--format csv does not go with --index"),
        (("--open", "--format", "csv"), "--format csv does not go with --open and --recheck"),
        (("--format", "pdf"), "unknown format 'pdf'; valid: html, markdown, csv"),
        (("--across", "threads"), "--across goes with --compare"),
        (("--compare", A, B, "--across", "thread"), "unknown fact 'thread'; did you mean 'threads'?"),
    ],
)
def test_bad_input_is_a_sentence(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    code, _, err = cli("report", *arguments)
    assert code == 2
    assert said in " ".join(err.split())


def test_a_run_without_records_is_no_side(cli: Cli) -> None:
    write(Path("results"), "20261124-100000-dddd", [])
    code, _, err = cli("report", "--compare", A, "20261124-100000-dddd")
    assert code == 2
    assert "no records in results/20261124-100000-dddd" in " ".join(err.split())


def test_five_thousand_cells_are_one_page(tmp_path: Path) -> None:
    rows = [replace(measured(CELL.but(size=f"s{n}"), 9.0 + n), fingerprint=None) for n in range(5000)]
    made = compare_runs(rows, rows)
    text = compare_page.render(compare_page.Compared(A, B, rows, rows, made.comparisons, made.mean, 0.03, 0.22))
    assert text.count("<svg ") == 5000
    assert len(text) < 10_000_000


def test_the_order_of_reading_is_the_stores(cli: Cli) -> None:
    """The page's rows are those of ``twinbench compare``, no more and no fewer."""
    found = compared()
    a, b = (summarise(store.read(Path("results") / name, [])) for name in (A, B))
    expected = compare_runs(a, b, 0.03, 0.005).comparisons
    assert {one.cell_b: one.verdict for one in found.comparisons} == {one.cell_b: one.verdict for one in expected}
