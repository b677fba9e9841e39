"""What each cell's entry says of its throughput, and where its reason stands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.report import cells, numbers
from bench.report.page import make
from bench.summary import Interval
from tests.report_fixtures import META, measured
from tests.samples import CELL


@pytest.mark.parametrize(
    ("interval", "told"),
    [
        (Interval(1470.3, 1442.1, 1499.2), "1,440–1,500 sample/s"),
        (Interval(14.703, 14.671, 14.742), "14.67–14.74 sample/s"),
        (Interval(1470.0, 800.0, 2700.0), "800–2,700 sample/s"),
        (Interval(1_234_567.0, 1_200_000.0, 1_270_000.0), "1,200,000–1,270,000 sample/s"),
    ],
)
def test_the_interval_has_its_name_its_unit_and_the_digits_that_it_supports(interval: Interval, told: str) -> None:
    (one,) = cells.entries([replace(measured(CELL, 1.0), throughput=interval, item="sample")], {})
    names = [name for name, _ in one.facts]
    assert dict(one.facts)["throughput, 95 %"] == told
    assert names.index("throughput, 95 %") < names.index("latency p50 / p90 / p99"), "not right after the latency"
    assert numbers.ends(replace(interval, low=None)) == ""


def test_only_a_cell_with_a_log_says_so() -> None:
    unsupported = replace(measured(CELL, 1.0), outcome="unsupported", reason="no such mode", throughput=None)
    failed = replace(unsupported, cell=CELL.but(batch=2), outcome="failed", log_tail="Traceback ...")
    html = make([unsupported, failed], [], META).html

    def entry(cell_id: str) -> str:
        return html.partition(f'id="cell-{cell_id}"')[2].partition("</details>")[0]

    assert "with its log" in entry(failed.cell.id)
    assert "with its log" not in entry(unsupported.cell.id)
    assert f'<a href="#r-{unsupported.cell.id}">among the others</a>' in entry(unsupported.cell.id)
