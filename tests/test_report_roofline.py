"""The roofline: an environment stands under its own ceilings, and the table is in order."""

from __future__ import annotations

import pytest

from bench.cell import Cell
from bench.record import Record
from bench.report import plots
from bench.report.evidence import process_of
from bench.report.pictures import series_of
from bench.summary import summarise
from tests.samples import CELL, measurement, record

#: FLOP/s of a matrix product and bytes/s of a copy, by environment; both on the same CPU.
CEILINGS = {"torch": (4e11, 2e10), "jax": (1e11, 5e9)}


def processes_of(one: Cell, number: int) -> Record:
    product, copy = CEILINGS[one.environment]
    # A later process reached a tenth less.
    share = 1 - 0.1 * number
    found = measurement(gemm_rates_flops_per_s={"fp32": product * share}, copy_bytes_per_s=copy * share)
    return record(one, number, measured=found)


CELLS = [CELL.but(environment=name, size=size) for size in ("wide", "digits") for name in ("torch", "jax")]
RECORDS = [processes_of(one, number) for number in range(2) for one in CELLS]


def test_each_environment_has_the_ceilings_that_it_measured() -> None:
    summaries = summarise(RECORDS)
    found = plots.rooflines(summaries, [process_of(one) for one in RECORDS], series_of(summaries))
    assert [plot.label for plot in found] == ["jax/cpu", "torch/cpu"]
    assert len({plot.chart.name for plot in found}) == 2
    for plot in found:
        product, copy = CEILINGS[plot.label.split("/")[0]]
        roofs = [one for one in plot.chart.series if one.bare]
        points = [one for one in plot.chart.series if not one.bare]
        assert [one.label for one in roofs] == ["measured: fp32 product"]
        for point in roofs[0].points:
            assert point.y == pytest.approx(min(product, copy * point.x))
        assert [one.label for one in points] == [plot.label.split("/")[0]]
        assert {one.colour % 6 for one in roofs}.isdisjoint(one.colour % 6 for one in points)


def test_the_rows_are_in_the_order_of_the_cells() -> None:
    """Whatever the order in which a shuffled run measured them; each with the ceilings of its own processes."""
    rows = plots.roof_rows(summarise(RECORDS), [process_of(one) for one in RECORDS])
    assert [row.cell for row in rows] == [one.label for one in sorted(CELLS)]
    assert [row.product for row in rows] == ["100", "400", "100", "400"]
