"""Which figures a page carries: picks, caps with a stated cut, and labels. The drawing itself is in ``figures``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report import curves, figures
from bench.report.facts import against, latency, precision_order, where
from bench.report.figures import Line
from bench.report.numbers import significant, time_scale
from bench.report.scaling import Scaling
from bench.report.sections import WorkTable, ratio_text, shorten
from bench.report.stages import StagesTable, colour
from bench.summary import CellSummary

if TYPE_CHECKING:
    from bench.verdict import Comparison

#: More than these and a page grows slow and heavy; what is cut is said beside the figure.
MAX_WORKS, MAX_LINES = 6, 40
#: Characters that fit left of a figure.
MAX_LABEL = 34
VERDICT_SERIES = {"faster": 2, "slower": 1, "same": 0, "inconclusive": 5}


@dataclass(frozen=True)
class Picture:
    """An SVG element and what it leaves out ("" when nothing)."""

    svg: str
    cut: str


def speed_ups(table: WorkTable, series: dict[str, int]) -> Picture | None:
    """Ratios to the baseline, grouped by precision; None where there is no ratio."""
    gains = [(one, gain) for one in table.members if (gain := against(one, table.base)) is not None]
    if not gains or table.base is None:
        return None
    kept = gains[:MAX_LINES]
    lines: list[Line] = []
    for precision in sorted({one.cell.precision for one, _ in kept}, key=precision_order):
        lines.append(Line(precision))
        for one, gain in kept:
            if one.cell.precision == precision:
                lines.append(Line(_place(one), gain, ratio_text(gain), series[one.cell.environment]))
    alt = f"Speed over {where(table.base.cell)} on {table.label}, {len(kept)} cells; the table above has the numbers"
    return Picture(figures.speed_ups(lines, alt), _cut(len(kept), len(gains)))


def latencies(table: WorkTable, series: dict[str, int]) -> Picture | None:
    """p50, p90 and p99 of the cells of one work; None where there are none."""
    timed = [(one, found) for one in table.members if (found := latency(one)) is not None and min(found) > 0]
    if not timed:
        return None
    kept = timed[:MAX_LINES]
    lines: list[Line] = []
    for precision in sorted({one.cell.precision for one, _ in kept}, key=precision_order):
        lines.append(Line(precision))
        for one, found in kept:
            if one.cell.precision == precision:
                scale = time_scale(found)
                words = " / ".join(significant(value / scale.size, 3) for value in found) + f" {scale.prefix}"
                lines.append(Line(_place(one), text=words, series=series[one.cell.environment], marks=found))
    alt = f"Latency p50, p90 and p99 on {table.label}, {len(kept)} cells; the table below has the numbers"
    return Picture(figures.latencies(lines, alt), _cut(len(kept), len(timed)))


def stages(table: StagesTable) -> Picture:
    """Where the time of each cell of one work goes, grouped by precision."""
    kept = table.rows[:MAX_LINES]
    lines: list[Line] = []
    for precision in sorted({row.member.cell.precision for row in kept}, key=precision_order):
        lines.append(Line(precision))
        for row in kept:
            if row.member.cell.precision == precision:
                pieces = tuple((colour(name, table.names), part.total_s) for name, part in row.member.parts.items())
                lines.append(Line(_place(row.member), text=row.total, pieces=pieces))
    alt = f"Shares of the stages on {table.label}, {len(kept)} cells; the table below has the numbers"
    return Picture(figures.shares(lines, alt), _cut(len(kept), len(table.rows)))


def scaled(shown: Scaling, series: dict[str, int]) -> Picture:
    """The curves of one scaling."""
    alt = f"Throughput by {shown.axis} of {shown.label}, {len(shown.curves)} curves; the table below has the numbers"
    return Picture(curves.scaling(shown, series, alt), "")


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
    return Picture(figures.verdicts(lines, margin, alt), cut)


def series_of(summaries: Sequence[CellSummary]) -> dict[str, int]:
    """A colour number per environment, the same in all figures of a page."""
    return {name: number for number, name in enumerate(dict.fromkeys(one.cell.environment for one in summaries))}


def _place(one: CellSummary) -> str:
    return shorten(f"{one.cell.environment}/{one.cell.device} {one.cell.mode}", MAX_LABEL)


def _cut(kept: int, total: int, noun: str = "cells") -> str:
    return "" if kept == total else f"The figure shows the first {kept} of {total} {noun}; the table has all of them."
