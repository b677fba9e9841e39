"""Pages at their limits: nothing, one cell, all failed, thousands, odd names, and records that somebody edited."""

from __future__ import annotations

import gzip
import html
import json
import math
import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from bench import index, rechecking, reporting, selftest
from bench.cli import app
from bench.errors import UsageError
from bench.rates import Rate
from bench.record import Failed, Record
from bench.report import error_rates
from bench.report.course import MAX_ROWS, MAX_STROKES
from bench.report.evidence import MAX_PROCESSES, MAX_RAW_BYTES
from bench.report.facts import mean_ratio
from bench.report.first_screen import cards
from bench.report.page import values
from bench.summary import Interval, summarise
from tests.page_records import LOG, RUN, cells, records, write_run
from tests.report_fixtures import grid
from tests.test_report import parsed

ODD = "a\"b'c <d> &amp; 🙂 \u202egnirts עברית {{ 1 }} \x1b[31m\\"


def page_of(folder: Path, out: Path, figures: bool = False) -> str:
    """The page of one run as text, whose elements are closed in order."""
    material = reporting.gather([folder], "", 0.03, "")
    text = reporting.write_html(material, out, figures=figures).read_text(encoding="utf-8")
    parsed(text)
    return text


def lines_of(text: str) -> list[dict[str, object]]:
    """The raw samples in a page."""
    found = re.search(r'id="page-data">(.*?)</script>', text, flags=re.DOTALL)
    assert found is not None
    raw = json.loads(found[1])["raw"]
    return [json.loads(line) for line in gzip.decompress(b64decode(raw)).splitlines()]


def few() -> list[Record]:
    """Two processes of four cells."""
    return records(2, list(cells((8,)))[:4])


def test_an_empty_run_is_a_clear_error(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [])
    with pytest.raises(UsageError, match=rf"no records in .*{RUN}"):
        reporting.gather([folder], "", 0.03, "")
    result = CliRunner().invoke(app, ["report", RUN, "--results", str(tmp_path), "--out", str(tmp_path / "x.html")])
    assert result.exit_code != 0
    assert not (tmp_path / "x.html").exists()


def test_one_cell(tmp_path: Path) -> None:
    text = page_of(write_run(tmp_path, few()[:1]), tmp_path / "x.html")
    assert "One cell was measured" in text
    assert text.count('<details class="cell measured"') == 1


def test_all_failed(tmp_path: Path) -> None:
    """Reasons and logs, no speed, every section."""
    outcome = Failed("open", "ImportError", "no module named torch", LOG)
    broken = [
        Record(
            **{name: getattr(one, name) for name in one.__struct_fields__} | {"outcome": outcome, "measurement": None}
        )
        for one in few()
    ]
    text = page_of(write_run(tmp_path, broken), tmp_path / "x.html")
    assert "Nothing can be said about speed: none of 4 cells gave a measurement." in text
    assert text.count("no module named torch") > 4
    assert text.count("Not measured") >= 6
    answers = {card.name: card.answer for card in cards(summarise(broken), "")}
    assert answers["wrong"] == "4 wrong or failed"
    assert answers["sure"] == "Cannot tell"


def test_odd_names_are_text(tmp_path: Path) -> None:
    """In elements, attributes, figures, and the data of charts."""
    which = [one.but(size=ODD, environment=f"{one.environment} {ODD}") for one in list(cells((8,)))[:2]]
    text = page_of(write_run(tmp_path, records(2, which)), tmp_path / "x.html", figures=True)
    assert "<d>" not in text
    for figure in sorted((tmp_path / "x.figures").glob("*.svg")):
        ElementTree.parse(figure)
    assert "answer.svg" in {path.name for path in (tmp_path / "x.figures").iterdir()}


#: What somebody may do to a line: (found, put there, whether it is still a record).
EDITS = (
    ('"items_per_iteration":8.0', '"items_per_iteration":NaN', False),
    ('"items_per_iteration":8.0', '"items_per_iteration":Infinity', False),
    ('"items_per_iteration":8.0', '"items_per_iteration":1e999', False),
    ('"items_per_iteration":8.0', '"items_per_iteration":0', False),
    ('"items_per_iteration":8.0', '"items_per_iteration":-3', False),
    ('"items_per_iteration":8.0', '"items_per_iteration":1e-300', True),
    ('"items_per_iteration":8.0', '"items_per_iteration":1e300', True),
    ('"flops_per_iteration":160000000.0', '"flops_per_iteration":1e308', True),
    ('"flops_per_iteration":160000000.0', '"flops_per_iteration":-1', True),
    ('"bytes_per_iteration":2080000.0', '"bytes_per_iteration":0', True),
    ('"bytes_per_iteration":2080000.0', '"bytes_per_iteration":-1e300', True),
    ('"copy_bytes_per_s":20000000000.0', '"copy_bytes_per_s":-1', True),
    ('"gemm_flops_per_s":400000000000.0', '"gemm_flops_per_s":0', True),
    ('"limit":0.00002', '"limit":0', True),
    ('"limit":0.00002', '"limit":1e308', True),
    ('"started_at":"2026', '"started_at":"yesterday', True),
    ('"load_1min":0.8', '"load_1min":"a lot"', True),
    ('"latency_ns":[', '"latency_ns":[0,', True),
    ('"latency_ns":[', '"latency_ns":[9000000000000000000,', True),
)


def test_edited_records_give_a_page_or_a_named_line(tmp_path: Path) -> None:
    """What is no JSON is skipped and named; what is no sense never becomes a figure called nan or inf."""
    first = next(iter(cells((8,))))
    which = [first.but(size=f"s{number}") for number in range(len(EDITS))]
    folder = write_run(tmp_path, records(2, which))
    path = folder / "records.jsonl"
    lines = path.read_text().splitlines()
    for number, (find, put, _) in enumerate(EDITS):
        # Both processes of the cell: one alone would hide behind the other in a median.
        for line in (number, number + len(EDITS)):
            assert find in lines[line], f"{find} is not there to be edited"
            lines[line] = lines[line].replace(find, put, 1)
    path.write_text("\n".join(lines) + "\n")
    text = page_of(folder, tmp_path / "x.html")
    body = text[text.index("<body>") : text.index("<footer>")]
    named = {int(number) for number in re.findall(r"records\.jsonl:(\d+): not a record", body)}
    unreadable = [number for number, (_, _, readable) in enumerate(EDITS) if not readable]
    assert named == {line + 1 for number in unreadable for line in (number, number + len(EDITS))}
    told = html.unescape(re.sub(r"<[^>]*>", " ", body))
    assert re.findall(r"(?i)(?<![a-z])-?(?:nan|inf|infinity)(?![a-z])", told) == []


@pytest.mark.parametrize("wall_ns", [0, -5])
def test_a_burst_that_took_no_time_is_a_named_line(tmp_path: Path, wall_ns: int) -> None:
    """Left out in silence, one process of two would look like a choice of ours; the index says the same."""
    folder = write_run(tmp_path, records(2, list(cells((8,)))[:1]))
    path = folder / "records.jsonl"
    text, edits = re.subn(r'("wall_ns":\[\d+,)\d+', rf"\g<1>{wall_ns}", path.read_text(), count=1)
    assert edits == 1
    path.write_text(text)
    material = reporting.gather([folder], "", 0.03, "")
    (problem,) = material.meta.skipped_lines
    assert re.search(rf"records\.jsonl:1: not a record: burst 2 took {wall_ns} ns", problem)
    assert [one.attempted for one in material.summaries] == [1]
    assert index.entry_of(folder).skipped == 1


def test_raw_samples_are_the_records(tmp_path: Path) -> None:
    folder = write_run(tmp_path, few())
    stored = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    assert lines_of(page_of(folder, tmp_path / "x.html")) == stored


def test_three_hundred_cells_stay_below_three_megabytes(tmp_path: Path) -> None:
    """As 1,500 processes over many works, even if the raw samples were as large as a page takes."""
    base = [one for one in cells() if one.workload == "mlp"]
    which = [one.but(size=f"s{size}") for size in range(6) for one in base][:300]  # 54 cells a size
    text = page_of(write_run(tmp_path, records(5, which)), tmp_path / "x.html")
    raw = re.search(r'"raw":"([^"]*)"', text)
    assert raw is not None
    assert 0 < len(raw[1]) <= MAX_RAW_BYTES * 4 / 3 + 4
    assert len(text.encode()) - len(raw[1]) + MAX_RAW_BYTES * 4 / 3 < 3_000_000
    assert text.count('<details class="cell ') == 300


def test_more_processes_than_a_page_carries(tmp_path: Path) -> None:
    """They are counted, the raw samples are elsewhere, and both is said."""
    found = records(1, list(cells((8,)))[:1]) * (MAX_PROCESSES + 20)
    folder = write_run(tmp_path, found)
    material = reporting.gather([folder], "", 0.03, "")
    evidence = material.meta.evidence
    assert (len(evidence.processes), evidence.processes_cut) == (MAX_PROCESSES, 20)
    shown = values(material.summaries, [], material.meta)
    assert (len(shown["course"]), shown["processes"]) == (MAX_ROWS, MAX_PROCESSES + 20)
    assert f"The figure shows {MAX_STROKES} of {MAX_PROCESSES} processes." in shown["timeline"].cut


def selftested(path: Path, source: str) -> None:
    """What `twinbench selftest` writes, with two rates of ours, one of another tool, and nothing live."""
    ours = Rate("twinbench", source, "flagged", 0.0, "identical", 20, 1, 200, margin=0.03, demand=(0.0, 0.05))
    late = Rate("twinbench nightly", source, "found in time", 0.05, "simulated", 5, 70, 100, demand=(0.8, 1.0))
    late = replace(late, aside=("median nights to find it", math.inf))
    other = Rate("pyperf", source, "flagged", 0.0, "identical", 20, 88, 200)
    selftest.write(selftest.Selftest(200, 0, [], [ours, late, other], {"recordings": "none here"}), path)


def test_a_selftest_is_named_alike_everywhere(tmp_path: Path) -> None:
    """The sample named its maker's folders, and differed from what its records gave in another checkout."""
    for place in ("here", "there"):
        folder = write_run(tmp_path / place / "h100", few())
        selftested(tmp_path / place / "h100" / "selftest.json", "all runs")
        panel = error_rates.read([folder], [])
        assert panel is not None
        assert panel.source == "h100/selftest.json"


def test_what_a_selftest_left_is_a_panel(tmp_path: Path) -> None:
    """Of the run before of all runs; one that cannot be read is named, and not shown."""
    folder = write_run(tmp_path, few())
    assert error_rates.read([folder], []) is None
    selftested(tmp_path / "selftest.json", "<b>all runs</b>")
    text = page_of(folder, tmp_path / "b.html")
    assert "<td>&lt;b&gt;all runs&lt;/b&gt;</td>" in text
    text = html.unescape(text)
    assert "Of 2 rates that something is asked of, 1 hold." in text
    assert "+5.0% found within 5 nights; median nights to find it: never in most series: 70.0%" in text
    assert "twinbench called it changed in 0.5 % of trials at most, the rules of other tools in 44.0 % to" in text
    assert "Not measured: recordings: none here." in text
    assert "<td>0.5% (0.1% to 2.8%)</td><td>at most 5%</td>" in text
    selftested(folder / "selftest.json", "this run")
    own = error_rates.read([folder], [])
    assert own is not None
    assert own.tables[0].rows[0][1] == "this run"
    for broken, said in (
        ("[]", "TypeError"),
        ('{"schema": 9}', "ValueError: schema 9 is not the one that this twinbench reads (1)"),
        ((folder / "selftest.json").read_text().replace('"hits": 1,', '"hits": 201,'), "ValueError: 201 of 200"),
    ):
        (folder / "selftest.json").write_text(broken)
        problems: list[str] = []
        assert error_rates.read([folder], problems) is None
        assert f"selftest.json: not shown: {said}" in problems[0]
    assert "selftest.json: not shown: ValueError: 201 of 200" in html.unescape(page_of(folder, tmp_path / "d.html"))


def test_another_selftest_does_not_make_a_page_wrong(tmp_path: Path) -> None:
    """Its rates are quoted: no record gives them. The note says that they are not what they were."""
    folder = write_run(tmp_path, few())
    selftested(tmp_path / "selftest.json", "before")
    page_of(folder, tmp_path / "x.html")
    checked = rechecking.check(tmp_path / "x.html", tmp_path)
    assert (checked.differences, checked.notes) == ((), ())
    selftested(tmp_path / "selftest.json", "after")
    checked = rechecking.check(tmp_path / "x.html", tmp_path)
    assert checked.differences == ()
    assert "are another selftest's by now" in checked.not_compared[0]


def test_mean_of_ratios_has_the_interval_of_the_measurement() -> None:
    """Four ratios of the same width: their mean is known twice as well; one without an interval: nothing is known."""
    one = Interval(2.0, 2.0 / 1.1, 2.0 * 1.1)
    mean = mean_ratio([one] * 4)
    assert mean.estimate == pytest.approx(2.0)
    assert mean.high == pytest.approx(2.0 * 1.1**0.5)
    unknown = mean_ratio([one, Interval(8.0, None, None)])
    assert unknown.estimate == pytest.approx(4.0)
    assert (unknown.low, unknown.high) == (None, None)


def test_first_screen_of_a_grid_with_an_accelerator() -> None:
    found = {card.name: card for card in cards(grid(synthetic_gpu=True), "")}
    assert found["faster"].question == "Is CUDA faster than the CPU?"
    assert found["slower"].answer.startswith("In ")
    assert found["slower"].link == "slower"
    assert (
        found["wrong"].detail
        == "1 wrong, 3 unsupported, 1 failed, 1 timed out, of 147 cells; no speed is shown for them."
    )
    assert [card.name for card in cards([], "")] == ["faster", "slower", "wrong", "machine", "sure"]
