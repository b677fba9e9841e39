"""Stages, further units, memory, layout and answers: from the record's samples to page, terminal, Markdown and CSV."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree
from dataclasses import replace
from pathlib import Path

import pandas
import pytest
from rich.console import Console

from bench import exports
from bench.record import Record
from bench.report import as_markdown
from bench.report.stages import COLOURS, detail_tables, further_rates, stages_tables
from bench.report.terminal import stages_table, terminal_table
from bench.summary import CellSummary, Interval, Part, parts_of, summarise
from tests.report_fixtures import META, cell, measured, pipelines, wrong
from tests.samples import MS, measurement, record
from tests.test_report import page, parsed


def spoken(process: int = 0, next_ms: int = 10) -> Record:
    """A process that decoded three tokens in each of two iterations."""
    stages = {"encode": [200 * MS, 210 * MS], "first": [30 * MS, 32 * MS], "next": [next_ms * MS] * 4}
    taken = measurement(
        item="audio s", items_per_iteration=30, items={"audio s": 30.0, "tokens": 3.0}, stages_ns=stages,
        peak_rss_bytes=400_000_000 + process,
    )  # fmt: skip
    return record(process=process, measured=taken, layout="NCHW", answer="hello")


def text_of(*renderables: object) -> str:
    """As a terminal of 200 columns shows them."""
    with open("/dev/null", "w") as nowhere:
        console = Console(width=200, record=True, file=nowhere)
        for one in renderables:
            console.print(one)
    return console.export_text()


def test_the_rarest_stage_counts_the_iterations() -> None:
    """A stage of 62 samples beside one of two runs 31 times; a stage without samples is none."""
    parts = parts_of({"encode": [5 * MS, 7 * MS], "next": [MS] * 62, "fetch": []})
    assert parts == {"encode": Part(0.006, 1), "next": Part(0.001, 31)}
    assert parts["next"].total_s == pytest.approx(0.031)
    assert parts_of({}) == {}


def test_summaries_take_medians_over_processes() -> None:
    """Three processes: the middle one speaks; the failed ones add nothing."""
    (row,) = summarise([spoken(0), spoken(1, next_ms=11), spoken(2, next_ms=90)])
    assert row.parts == {"encode": Part(0.205, 1), "first": Part(0.031, 1), "next": Part(0.011, 2)}
    assert row.items == {"audio s": 30.0, "tokens": 3.0}
    assert (row.peak_rss_bytes, row.layout, row.answer) == (400_000_001, "NCHW", "hello")


def test_records_of_version_1_say_nothing() -> None:
    """No stage, unit, layout or answer is made up."""
    (row,) = summarise([record()])
    assert (row.parts, row.items, row.peak_rss_bytes, row.layout, row.answer) == ({}, {}, None, None, None)
    assert stages_tables([row]) == []
    assert detail_tables([row]) == []
    assert stages_table([row]) is None


def test_further_units_follow_the_headline() -> None:
    """The same iterations in tokens: 32 to 30 s of audio; the interval is scaled with its estimate."""
    heard = next(one for one in pipelines() if one.cell.workload == "whisper")
    assert heard.throughput is not None
    assert heard.throughput.low is not None
    ((unit, rate),) = further_rates(heard)
    assert unit == "tokens"
    assert rate.estimate == pytest.approx(heard.throughput.estimate * 32 / 30)
    assert rate.low == pytest.approx(heard.throughput.low * 32 / 30)
    assert further_rates(replace(heard, throughput=Interval(1.0, None, None)))[0][1].low is None
    assert further_rates(replace(heard, outcome="wrong")) == []


def test_page_shows_where_the_time_goes(tmp_path: Path) -> None:
    """Table, figure and legend of both works; a sum that is the sum; nothing of it in a page without stages."""
    text = page(pipelines(), tmp_path)
    parser = parsed(text)
    assert "works" in set(parser.ids) & set(parser.targets)
    section = text.partition('id="works"')[2].partition("</section>")[0]
    assert "31 × 9.40 ms" in section
    assert "518 ms" in section, "196 + 31 + 31 x 9.4 ms"
    assert section.count("Shares of the stages") == 2
    for figure in re.findall(r"<svg.*?</svg>", section, flags=re.DOTALL):
        xml.etree.ElementTree.fromstring(figure)
    for name in ("preprocess", "transfer", "model", "fetch", "postprocess", "encode", "first", "next"):
        assert f">{name}</text>" in section, "the key of the figure"
    plain = page([measured(cell(), 1000.0)], tmp_path)
    assert "Not measured: an iteration of this work is one stage" in plain
    assert "peak memory" not in plain


def test_figures_divide_a_bar_by_the_stages(tmp_path: Path) -> None:
    """Three stages of 50, 30 and 20 %: three pieces side by side with those widths."""
    parts = {"preprocess": Part(0.5, 1), "model": Part(0.1, 3), "postprocess": Part(0.2, 1)}
    text = page([replace(measured(cell(), 1000.0), parts=parts)], tmp_path)
    (figure,) = re.findall(r'<svg role="img" aria-label="Shares of.*?</svg>', text, flags=re.DOTALL)
    widths = {}
    for number in (COLOURS[name] for name in parts):
        (name,) = re.findall(rf"\.(m\d+)\{{fill: var\(--series-{number}\); stroke: var\(--card\)", text)
        (path,) = re.findall(rf'<path d="([^"]+)"[^>]*class="{name}"', figure)
        places = [float(x) for x in re.findall(r"[ML] ([-\d.]+)", path)]
        widths[number] = max(places) - min(places)
    total = sum(widths.values())
    shares = [width / total for width in widths.values()]
    assert shares == pytest.approx([0.5, 0.3, 0.2], abs=1e-3)


def test_page_shows_memory_layout_and_answers(tmp_path: Path) -> None:
    """Text from a pipeline stays text; a column that no cell fills is not there."""
    text = page(pipelines(), tmp_path)
    section = text.partition('id="works"')[2].partition("</section>")[0]
    assert "412 MB" in section
    assert "3.1 GB" in section
    assert "person 0.91, &lt;b&gt;tie&lt;/b&gt;" in section
    assert "<b>tie" not in text
    assert "NHWC" in section
    assert "tokens/s" in section
    heard = [one for one in pipelines() if one.cell.workload == "whisper"]
    assert [name for name, _ in detail_tables(heard)[0].columns] == ["rates", "peak"]


def test_wrong_cells_have_no_stages(tmp_path: Path) -> None:
    """No time of a wrong answer is shown, in whatever form it arrives."""
    planted = replace(wrong(cell(), 987.0), parts={"model": Part(0.12345, 1), "fetch": Part(0.1, 1)}, answer="planted")
    shown = [planted, *pipelines()]
    texts = (page(shown, tmp_path), as_markdown(shown, [], META), text_of(stages_table(shown)))
    assert not [text for text in texts if "123 ms" in text or "planted" in text]


def test_terminal_and_markdown_show_stages() -> None:
    """The same figures; further units under the throughput, the peak in a column of its own."""
    shown = pipelines()
    told = text_of(terminal_table(shown, "", 200), stages_table(shown))
    assert "412 MB" in told
    assert "63 tokens/s" in told, "59 s of audio a second, 32 tokens to 30 s"
    assert "encode 196 ms, first 31.0 ms, next 31 × 9.40 ms" in told
    text = as_markdown(shown, [], META)
    assert "| torch/cpu fp32 eager | 196 ms | 31.0 ms | 31 × 9.40 ms | 518 ms |" in text


def test_csv_has_a_column_per_unit_and_stage(tmp_path: Path) -> None:
    """Those of one cell are empty for the others."""
    exports.write([spoken(0), spoken(1), record(cell(workload="mlp", size="wide"))], "csv", tmp_path / "out.csv")
    table = pandas.read_csv(tmp_path / "out.csv")
    heard, plain = table[table["size"] == "digits"].iloc[0], table[table["size"] == "wide"].iloc[0]
    assert heard.tokens_per_s == pytest.approx(heard.items_per_s / 10)
    assert (heard.stage_next_s, heard.stage_next_calls) == (0.01, 2)
    assert (heard.layout, heard.answer) == ("NCHW", "hello")
    assert heard.peak_rss_bytes == pytest.approx(400e6, rel=1e-6)
    assert all(math.isnan(plain[name]) for name in ("tokens_per_s", "stage_next_s", "peak_rss_bytes"))


def test_many_cells_are_cut_and_that_is_said(tmp_path: Path) -> None:
    """The table holds all of them."""
    parts = {"encode": Part(0.2, 1), "next": Part(0.01, 7)}
    crowd: list[CellSummary] = [
        replace(measured(cell(environment=f"env{number:02d}"), 1000.0), parts=parts) for number in range(45)
    ]
    section = page(crowd, tmp_path).partition("<h4>Stages of an iteration</h4>")[2].partition("<h4>Compile")[0]
    assert "The figure shows the first 40 of 45 cells; the table has all of them." in section
    assert section.count("7 × 10.0 ms") == 45


def test_the_start_up_of_a_process_is_named_for_what_it_is(tmp_path: Path) -> None:
    """1.3 ms is what spawning takes, not the process; works without a coverage pass share one line."""
    text = page([measured(cell(batch=batch), 100.0) for batch in (1, 2, 4)], tmp_path)
    assert ">spawn only</th>" in text
    assert ">process</th>" not in text
    section = text.partition('id="coverage"')[2].partition("</section>")[0]
    assert section.lower().count("not measured") == 1
