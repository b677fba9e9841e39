"""Which figures a page carries: picks, caps with a stated cut, and labels. The drawing itself is in ``figures``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from bench.cell import Cell
from bench.report import figures, numbers
from bench.report.evidence import Process
from bench.report.facts import (
    Work,
    accelerations,
    against,
    count,
    find_baselines,
    latency,
    mean_ratio,
    precision_order,
    speed,
    where,
)
from bench.report.figures import Line
from bench.report.headline import device_name
from bench.report.ink import Picture
from bench.report.numbers import significant, time_scale
from bench.report.sections import WorkTable, ratio_text, shorten
from bench.report.stages import StagesTable, colour
from bench.summary import CellSummary, Interval

if TYPE_CHECKING:
    from bench.verdict import Comparison

#: More than these and a page grows slow and heavy; what is cut is said beside the figure.
MAX_WORKS, MAX_LINES, MAX_GAINS = 6, 40, 14
#: Characters that fit left of a figure.
MAX_LABEL = 34
VERDICT_SERIES = {"faster": 2, "slower": 1, "same": 0, "inconclusive": 5}


def answer(summaries: Sequence[CellSummary], series: Mapping[str, int], baseline: str) -> Picture | None:
    """The figure of the first screen: accelerators over CPUs, or where there are none, everything over the baseline."""
    gains = accelerations(summaries, by_environment=True)
    if gains:
        lines = []
        for device in dict.fromkeys(gain.device for gain in gains):
            lines.append(Line(f"{device_name(device)} over the CPU"))
            rows = sorted((gain for gain in gains if gain.device == device), key=lambda gain: -gain.gain)
            lines += [
                _gain(f"{one.environment}/{device}", one.environment, [ratio for _, ratio in one.members], series)
                for one in rows
            ]
        axis = "slower than its CPU  ←  1×  →  faster (log scale); large: geometric mean, small: single cells"
        alt = "Speed of each accelerator over the CPU of its own environment; the grid has the ratio of every cell"
        narrow = partial(figures.narrow_gains, lines, axis)
        return Picture("answer", partial(figures.gains, lines, axis), alt, narrow=narrow)
    bases = find_baselines(summaries, baseline)
    groups: dict[str, tuple[CellSummary, list[Interval]]] = {}
    for one in summaries:
        gain = against(one, bases.get(one.cell.work))
        if gain is not None:
            groups.setdefault(where(one.cell), (one, []))[1].append(gain)
    if not groups:
        return None
    ordered = sorted(groups.items(), key=lambda pair: -mean_ratio(pair[1][1]).estimate)
    lines = [_gain(name, one.cell.environment, ratios, series) for name, (one, ratios) in ordered[:MAX_GAINS]]
    axis = "slower than the baseline  ←  1×  →  faster (log scale); large: geometric mean, small: single works"
    alt = f"Speed over {_named(bases)}, over the works that both sides have; the grid has the ratio of every cell"
    cut = _cut(len(lines), len(ordered), "rows")
    narrow = partial(figures.narrow_gains, lines, axis)
    return Picture("answer", partial(figures.gains, lines, axis), alt, cut, narrow=narrow)


def _named(bases: Mapping[Work, CellSummary]) -> str:
    """``the baseline, torch/cpu eager fp32``; where works have different ones, in how many each is it."""
    places = Counter(where(one.cell) for one in bases.values())
    told = [
        place if len(places) == 1 else f"{place} in {count(number, 'work')}" for place, number in places.most_common()
    ]
    return f"the baseline, {' and '.join(told)}"


def _gain(label: str, environment: str, ratios: Sequence[Interval], series: Mapping[str, int]) -> Line:
    mean = mean_ratio(ratios)
    text = f"{ratio_text(mean)}, n = {len(ratios)}"
    return Line(shorten(label, MAX_LABEL), mean, text, series[environment], tuple(one.estimate for one in ratios))


def bars(table: WorkTable, series: Mapping[str, int], index: int) -> Picture | None:
    """Throughput of one work, grouped by precision; None where nothing has a speed."""
    rated = [(one, rate) for one in table.members if (rate := speed(one)) is not None]
    if not rated:
        return None
    kept = rated[:MAX_LINES]
    scale = numbers.rate_scale(rate.estimate for _, rate in rated)

    def line(one: CellSummary, rate: Interval) -> Line:
        text = f"{numbers.rate(rate, scale)} {numbers.spread(rate, scale)}"
        return Line(_place(one), rate, text, series[one.cell.environment])

    lines = _by_precision((one, line(one, rate)) for one, rate in kept)
    # The axis writes its own prefixes, so it counts in plain units.
    unit = table.unit.removeprefix(f"{scale.prefix} ")
    alt = f"Throughput on {table.label}, {len(kept)} cells; the grid above has the numbers"
    draw = partial(figures.bars, lines, unit)
    return Picture(f"work-{index}-throughput", draw, alt, _cut(len(kept), len(rated)))


def boxes(
    table: WorkTable, series: Mapping[str, int], processes: Mapping[Cell, Sequence[Process]], index: int
) -> Picture | None:
    """Latency of one work by process; None where there is none."""
    timed = [
        (one, [process.latency_s for process in processes.get(one.cell, ()) if process.latency_s], found)
        for one in table.members
        if (found := latency(one)) is not None and min(found) > 0
    ]
    timed = [(one, quantiles, found) for one, quantiles, found in timed if quantiles]
    if not timed:
        return None
    kept = timed[:MAX_LINES]
    rows = []
    for one, quantiles, found in kept:
        scale = time_scale(found)
        text = " / ".join(significant(value / scale.size, 3) for value in found) + f" {scale.prefix}"
        rows.append((one, Line(_place(one), text=text, series=series[one.cell.environment], boxes=tuple(quantiles))))
    alt = f"Latency by process on {table.label}, {len(kept)} cells; the table below has p50, p90 and p99"
    draw = partial(figures.boxes, _by_precision(rows))
    return Picture(f"work-{index}-latency", draw, alt, _cut(len(kept), len(timed)))


def stages(table: StagesTable, index: int) -> Picture:
    """Where the time of each cell of one work goes, grouped by precision."""
    kept = table.rows[:MAX_LINES]
    lines = _by_precision(
        (
            row.member,
            Line(
                _place(row.member),
                text=row.total,
                pieces=tuple((colour(name, table.names), part.total_s) for name, part in row.member.parts.items()),
            ),
        )
        for row in kept
    )
    alt = f"Shares of the stages on {table.label}, {len(kept)} cells; the table below has the numbers"
    key = [(colour(name, table.names), shorten(name, MAX_LABEL)) for name in table.names]
    draw = partial(figures.shares, lines, key)
    return Picture(f"work-{index}-stages", draw, alt, _cut(len(kept), len(table.rows)))


def verdicts(comparisons: Sequence[tuple[int, Comparison]], margin: float) -> Picture | None:
    """Intervals of numbered comparisons against the margin; None where none has one."""
    shown = [(number, one, one.verdict.ratio) for number, one in comparisons if one.verdict.ratio is not None]
    if not shown:
        return None
    kept = shown[:MAX_LINES]
    lines = [
        Line(
            shorten(f"#{number} {where(one.cell_b)}", MAX_LABEL),
            ratio,
            f"{one.verdict.word}  {ratio_text(ratio)}",
            VERDICT_SERIES.get(one.verdict.word, 5),
        )
        for number, one, ratio in kept
    ]
    alt = f"Intervals of {len(kept)} comparisons against the margin; the table below has the numbers"
    cut = _cut(len(kept), len(shown), "comparisons")
    return Picture("comparisons", partial(figures.verdicts, lines, margin), alt, cut)


def series_of(summaries: Sequence[CellSummary]) -> dict[str, int]:
    """A colour number per environment, the same in all figures of a page."""
    return {name: number for number, name in enumerate(dict.fromkeys(one.cell.environment for one in summaries))}


def _by_precision(rows: Iterable[tuple[CellSummary, Line]]) -> list[Line]:
    """The lines under a heading for each precision, in the house's order."""
    groups: dict[str, list[Line]] = {}
    for one, line in rows:
        groups.setdefault(one.cell.precision, []).append(line)
    return [
        line
        for precision in sorted(groups, key=precision_order)
        for line in (Line(precision), *groups[precision])
    ]  # fmt: skip


def _place(one: CellSummary) -> str:
    return shorten(f"{one.cell.environment}/{one.cell.device} {one.cell.mode}", MAX_LABEL)


def _cut(kept: int, total: int, noun: str = "cells") -> str:
    return "" if kept == total else f"The figure shows the first {kept} of {total} {noun}; the table has all of them."
