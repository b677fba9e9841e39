"""What a cell's words are worth: effective precision as measured, operators that fell back, ways to compute. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.audits import Coverage
from bench.cell import Cell
from bench.labels import emulated
from bench.report import numbers
from bench.report.facts import count, place, precision_order, ratio, speed, where, work_label
from bench.report.sections import ratio_text
from bench.summary import CellSummary

#: Variants that are ways to compute the same, in the order in which they are told; the first is what others are
#: divided by.
WAYS = ("native", "round-trip", "composed", "kernel")


@dataclass(frozen=True)
class PrecisionRow:
    """One precision of an environment on a device.

    ``rate`` is of a matrix product, the best of all processes there, with its ratio to the one that fp32's row shows.
    """

    where: str
    asked: str
    measured: str
    small_error: str
    large_error: str
    output_dtype: str
    rate: str
    emulated: bool


def precision_rows(summaries: Sequence[CellSummary]) -> list[PrecisionRow]:
    """One row for each (environment, device, precision) and what it was measured to be; wrong cells speak, too."""
    found: dict[tuple[str, str, tuple[int, str], str], CellSummary] = {}
    # The processes of an fp16 cell measure fp32, too: of each precision there is one rate for all rows of a place.
    pools: dict[str, dict[str, float]] = {}
    for one in summaries:
        cell = one.cell
        pool = pools.setdefault(place(cell), {})
        for word, rate in one.gemm_rates_flops_per_s.items():
            pool[word] = max(rate, pool.get(word, 0.0))
        if one.effective is not None:
            key = (cell.environment, cell.device, precision_order(cell.precision), one.effective.label)
            found.setdefault(key, one)
    return [_precision_row(first, pools[place(first.cell)]) for _, first in sorted(found.items(), key=lambda p: p[0])]


def _precision_row(first: CellSummary, rates: Mapping[str, float]) -> PrecisionRow:
    assert first.effective is not None
    large = first.effective.large_gemm_error
    word = first.cell.precision
    return PrecisionRow(
        where=place(first.cell),
        asked=word,
        measured=first.effective.label,
        small_error=numbers.error(first.effective.gemm_error),
        large_error="–" if large is None else numbers.error(large),
        output_dtype=first.effective.output_dtype,
        rate=_rate(rates, word),
        emulated=emulated(rates, word),
    )


def _rate(rates_flops_per_s: Mapping[str, float], word: str) -> str:
    rate, full = rates_flops_per_s.get(word), rates_flops_per_s.get("fp32")
    if rate is None:
        return "not measured"
    told = f"{numbers.significant(rate / 1e9, 3)} GFLOP/s"
    return told if word == "fp32" or not full else f"{told}, {numbers.significant(rate / full, 2)}× fp32"


@dataclass(frozen=True)
class CoverageRow:
    """One cell's audit. ``finding`` is ``not measured`` where no pass was run."""

    cell: str
    finding: str
    operators: str
    method: str
    strict_error: str
    fell_back: bool


@dataclass(frozen=True)
class CoverageTable:
    """One work. ``summary`` says how many of its cells were audited, and what of them fell back; no rows where none."""

    label: str
    summary: str
    rows: tuple[CoverageRow, ...]


def coverage_tables(summaries: Sequence[CellSummary], audits: Sequence[Coverage]) -> list[CoverageTable]:
    """One per work that was measured or audited, in the order of the cells; a cell without an audit says so."""
    by_cell = {one.cell: one for one in audits}
    works: dict[tuple[str, str, str, str, int], list[Cell]] = {}
    for cell in sorted({*(one.cell for one in summaries), *by_cell}):
        works.setdefault(cell.work, []).append(cell)
    tables = []
    for work, cells in works.items():
        done = [by_cell[cell] for cell in cells if cell in by_cell]
        rows = tuple(_coverage_row(cell, by_cell.get(cell)) for cell in cells) if done else ()
        fallen = sorted({f"{each.operator} on {each.where}" for one in done for each in one.fallbacks})
        told = ", ".join(fallen) if fallen else "nothing fell back"
        summary = f"{len(done)} of {count(len(cells), 'cell')} audited: {told}" if done else "not measured"
        tables.append(CoverageTable(work_label(work), summary, rows))
    return tables


def _coverage_row(cell: Cell, audit: Coverage | None) -> CoverageRow:
    if audit is None:
        return CoverageRow(where(cell), "not measured", "", "", "", False)
    seen = "" if audit.operators is None else f"{audit.operators:,}"
    return CoverageRow(where(cell), audit.finding, seen, audit.method, audit.strict_error or "", bool(audit.fallbacks))


@dataclass(frozen=True)
class WaysRow:
    """One cell in its ways; of each, what is shown: throughput and ratio, or the outcome. ``build``: of its kernel."""

    where: str
    ways: tuple[str, ...]
    build: str


@dataclass(frozen=True)
class WaysTable:
    """One work in several ways."""

    label: str
    unit: str
    names: tuple[str, ...]
    rows: tuple[WaysRow, ...]


def ways_tables(summaries: Sequence[CellSummary]) -> list[WaysTable]:
    """The works whose variants are ways to compute the same, side by side; only where two of them are there."""
    works: dict[tuple[str, str, str, int], list[CellSummary]] = {}
    for one in summaries:
        cell = one.cell
        if cell.variant in WAYS:
            works.setdefault((cell.workload, cell.size, cell.phase, cell.batch), []).append(one)
    tables = []
    for (workload, size, phase, batch), members in works.items():
        names = tuple(way for way in WAYS if any(one.cell.variant == way for one in members))
        if len(names) > 1:
            rows = _ways_rows(members, names)
            unit = next((one.item for one in members if one.item), "items")
            tables.append(WaysTable(f"{workload}:{size} {phase}, batch {batch}", f"{unit}/s", names, rows))
    return tables


def _ways_rows(members: Sequence[CellSummary], names: Sequence[str]) -> tuple[WaysRow, ...]:
    cells: dict[str, dict[str, CellSummary]] = {}
    for one in members:
        cells.setdefault(where(one.cell), {})[one.cell.variant] = one
    rows = []
    for row, ways in cells.items():
        base = ways.get(WAYS[0])
        kernel = ways.get("kernel")
        built_s = None if kernel is None else kernel.stages_s.get("kernel_build")
        build = "–" if built_s is None else numbers.duration(built_s)
        rows.append(WaysRow(row, tuple(_way(ways.get(name), base) for name in names), build))
    return tuple(rows)


def _way(one: CellSummary | None, base: CellSummary | None) -> str:
    if one is None:
        return "–"
    rate = speed(one)
    if rate is None:
        return f"{one.outcome.replace('_', ' ')}: {one.reason}"
    scale = numbers.rate_scale([rate.estimate])
    told = f"{numbers.rate(rate, scale)}{scale.prefix}"
    full = speed(base) if base is not None and base is not one else None
    return told if full is None else f"{told}, {ratio_text(ratio(rate, full))}"
