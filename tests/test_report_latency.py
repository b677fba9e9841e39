"""Latency in the report: a percentile is told only where samples reach it, in every form of the report alike."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from bench.record import Record
from bench.report import csv_table, figures, raw, shown
from bench.report.evidence import Latencies, process_of
from bench.report.figures import Line
from bench.report.ink import PAPER
from bench.report.sections import latency_table
from bench.report.terminal import terminal_table
from bench.reporting import gather, write_html
from bench.summary import summarise
from tests import stored_runs
from tests.samples import MS, measurement, record

FEW, SOME, MANY = [723 * MS], [n * MS for n in range(701, 713)], [n * MS for n in range(701, 801)]


def taken(latency_ns: Sequence[int], processes: int = 1) -> list[Record]:
    """Processes with these samples each."""
    return [record(process=n, measured=measurement(latency_ns=list(latency_ns))) for n in range(processes)]


@pytest.mark.parametrize(
    ("samples", "told", "row"),
    [
        (FEW, "723 / – / – ms (n = 1)", ("1", "723", "–", "–", "–")),
        (SOME, "706 / 711 / – ms (n = 12)", ("12", "706", "711", "–", "–")),
        (MANY, "750 / 790 / 799 ms (n = 100)", ("100", "750", "790", "799", "1.1×")),
    ],
)
def test_every_form_says_the_same(samples: list[int], told: str, row: tuple[str, ...]) -> None:
    """Terminal, the page's table and CSV; the second path of ``--recheck`` gives what the page carries."""
    records = taken(samples)
    (one,) = summaries = summarise(records)
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(terminal_table(summaries, ""))
    assert told in console.export_text()
    table = latency_table("x", summaries)
    assert table is not None
    assert table.rows[0][1:] == row
    (line,) = csv.DictReader(io.StringIO(csv_table.report(summaries, "")))
    assert line["latency_samples"] == row[0]
    assert [bool(line[f"latency_p{percent}_s"]) for percent in (50, 90, 99)] == [word != "–" for word in row[1:4]]
    carried = shown.cell(one, None, {})
    (again,) = raw.cells(raw.Samples(records), "").values()
    names = {name for name in carried if name.startswith("latency")}
    assert names == {name for name in again if name.startswith("latency")}
    assert {name: carried[name] for name in names} == pytest.approx({name: again[name] for name in names})


def test_few_samples_are_drawn_as_they_are() -> None:
    """A stroke from p5 to p95 needs 20 samples of its process, a ring at p99 a hundred."""
    few, some, many = (process_of(taken(samples)[0]).latency for samples in (FEW, SOME * 2, MANY))
    assert few == Latencies(samples=(0.723,))
    assert some is not None
    assert many is not None
    assert few is not None
    assert (len(some.quantiles), some.samples) == (5, ())
    assert (len(many.quantiles), many.samples) == (6, ())
    lines = [Line("cell", text="723 ms", boxes=(few, few))]
    drawn = figures.boxes(lines, PAPER)
    label = drawn.axes[0].get_xlabel()
    assert "a sample each" in label
    assert "p95" not in label
    assert "p99" not in label
    both = figures.boxes([Line("cell", boxes=(few, some)), Line("other", boxes=(many,))], PAPER)
    assert "p95" in both.axes[0].get_xlabel()
    assert "single samples" in both.axes[0].get_xlabel()
    assert "p99" in both.axes[0].get_xlabel()


def test_a_page_of_processes_with_one_sample_has_no_tail(tmp_path: Path) -> None:
    """As Whisper's are in a real run: 723 / 723 / 723 ms is what the page once said."""
    folder = stored_runs.write(tmp_path, "20261123-000000-0000", taken(FEW, 3))
    page = tmp_path / "page.html"
    write_html(gather([folder], "", 0.03, "one sample"), page)
    text = re.sub(r"<[^>]+>", " ", page.read_text(encoding="utf-8"))
    assert "723 / – / – ms (n = 3)" in text
    assert "723 / 723" not in text
