"""Which figures a page carries: picks, caps with a stated cut, and labels. The drawing itself is in ``figures``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from bench.cell import Cell
from bench.report import figures, numbers, ranking
from bench.report.evidence import Process
from bench.report.facts import (
    Work,
    accelerations,
    count,
    find_baselines,
    latency,
    precision_order,
    speed,
    where,
)
from bench.report.figures import Line
from bench.report.headline import device_name
from bench.report.ink import Picture
from bench.report.sections import WorkTable, ratio_text, shorten
from bench.report.stages import StagesTable, colour
from bench.summary import CellSummary, Interval

if TYPE_CHECKING:
    from bench.verdict import Comparison

#: More than these and a page grows slow and heavy; what is cut is said beside the figure.
MAX_WORKS, MAX_LINES, MAX_GAINS, MAX_ROOFS = 16, 40, 14, 8
#: The first works have figures however many cells they have; the next, up to MAX_WORKS, while all together have no
#: more than these.
FIRST_WORKS, MAX_CELLS = 6, 80
#: Characters that fit left of a figure.
MAX_LABEL = 34
#: Above rows whose means are over other cells than those of the ranking.
NOT_THE_SAME = "not the same cells"
VERDICT_SERIES = {"faster": 2, "slower": 1, "same": 0, "inconclusive": 5}


def answer(summaries: Sequence[CellSummary], series: Mapping[str, int], baseline: str) -> Picture | None:
    """The figure of the first screen: accelerators over CPUs, or where there are none, everything over the baseline."""
    gains = accelerations(summaries)
    if gains:
        rankings = [(f"{device_name(gain.device)} over the CPU", ranking.over_cpu(gain)) for gain in gains]
        axis = "slower than its CPU  ←  1×  →  faster (log scale); large: geometric mean, small: single cells"
        alt = "Speed of each accelerator over the CPU of its own environment; the grid has the ratio of every cell"
    else:
        rankings = list(ranking.over_baseline(summaries, baseline).items())
        axis = "slower than the baseline  ←  1×  →  faster (log scale); large: geometric mean, small: single works"
        named = _named(find_baselines(summaries, baseline))
        alt = f"Speed over {named}, by precision, over works that its rows share; the grid has the ratio of every cell"
    if not any(found.ranked for _, found in rankings):
        return None
    lines, notes, room = [], [], MAX_GAINS
    for head, found in rankings:
        kept = found.ranked[:room]
        others = found.apart[: room - len(kept)]
        room -= len(kept) + len(others)
        lines += [Line(head)] if kept else []
        lines += [_gain(one, series) for one in kept]
        lines += [Line(NOT_THE_SAME)] if others else []
        lines += [_gain(one, series) for one in others]
        if found.apart:
            noun = "cell" if gains else "work"
            notes.append(
                f"{head}: ranked over the {count(found.shared, noun)} that these rows share; rows "
                f"that lack some of them stand apart, unranked, each over its own."
            )
    total = sum(len(found.ranked) + len(found.apart) for _, found in rankings)
    notes.append(_cut(MAX_GAINS - room, total, "rows"))
    narrow = partial(figures.narrow_gains, lines, axis)
    return Picture("answer", partial(figures.gains, lines, axis), alt, " ".join(filter(None, notes)), narrow=narrow)


def _named(bases: Mapping[Work, CellSummary]) -> str:
    """``the baseline, torch/cpu eager fp32``; where works have different ones, in how many each is it."""
    places = Counter(where(one.cell) for one in bases.values())
    told = [
        place if len(places) == 1 else f"{place} in {count(number, 'work')}" for place, number in places.most_common()
    ]
    return f"the baseline, {' and '.join(told)}"


def _gain(row: ranking.Gains, series: Mapping[str, int]) -> Line:
    mean = row.mean
    text = f"{ratio_text(mean)}, n = {len(row.ratios)}"
    dots = tuple(one.estimate for one in row.ratios.values())
    return Line(shorten(row.name, MAX_LABEL), mean, text, series[row.environment], dots)


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
        (one, [process.latency for process in processes.get(one.cell, ()) if process.latency], found)
        for one in table.members
        if (found := latency(one)) is not None and found[0] > 0
    ]
    timed = [(one, each, found) for one, each, found in timed if each]
    if not timed:
        return None
    kept = timed[:MAX_LINES]
    rows = []
    for one, each, found in kept:
        text = numbers.latencies(found, one.latency_samples)
        rows.append((one, Line(_place(one), text=text, series=series[one.cell.environment], boxes=tuple(each))))
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
