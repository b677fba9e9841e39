"""Throughput against batch or size: what grows how, and from where on an accelerator pays. Pure.

A crossover is where two curves meet: straight lines between neighbouring points on log-log axes. Its interval is where
the ends of the ratio's own interval cross 1; an end that does not within the range is open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench import workload
from bench.cell import Cell
from bench.report import numbers
from bench.report.facts import outcome_word, precision_order, ratio, speed
from bench.summary import CellSummary, Interval
from bench.sweep import is_end_in_words

#: Fewer points are no curve. Two sizes side by side are what an ordinary run has, and the grid shows them.
FEWEST_POINTS = {"batch": 2, "size": 3}


@dataclass(frozen=True)
class Curve:
    """One environment, device and mode: (place on the axis, throughput) in order, and why it ends ("": not)."""

    environment: str
    device: str
    mode: str
    points: tuple[tuple[float, Interval], ...]
    end: str = ""

    @property
    def label(self) -> str:
        """``torch/cuda eager``."""
        return f"{self.environment}/{self.device} {self.mode}"


@dataclass(frozen=True)
class Crossover:
    """Where ``faster`` overtakes ``slower``, read along the axis. ``at`` None: nowhere in the range.

    ``low`` and ``high`` are its interval, None where that end is open.
    """

    faster: str
    slower: str
    at: float | None
    low: float | None
    high: float | None
    text: str


@dataclass(frozen=True)
class Scaling:
    """One figure. ``ticks``: (place, its name). ``rows``: per curve the throughput at each tick, "–" where none."""

    label: str
    axis: str
    unit: str
    ticks: tuple[tuple[float, str], ...]
    curves: tuple[Curve, ...]
    crossovers: tuple[Crossover, ...]

    @property
    def rows(self) -> list[tuple[str, list[str], str]]:
        """(curve, throughputs, why it ends), for a table."""
        return [
            (
                curve.label,
                [numbers.rate(found) if (found := dict(curve.points).get(place)) else "–" for place, _ in self.ticks],
                curve.end,
            )
            for curve in self.curves
        ]


def scalings(summaries: Sequence[CellSummary]) -> list[Scaling]:
    """By batch and by size, wherever some curve has points enough."""
    batch_of = _batches_of(summaries)
    groups: dict[tuple[str, ...], list[CellSummary]] = {}
    for one in summaries:
        cell = one.cell
        work = (cell.workload, cell.phase_label, cell.precision)
        groups.setdefault(("batch", cell.size, *work), []).append(one)
        groups.setdefault(("size", batch_of(cell), *work), []).append(one)
    found = []
    for (axis, other, name, phase, precision), members in groups.items():
        made = (
            _scaling(
                f"{name}:{other} {phase}, {precision}", axis, members, _place_of_batch, lambda cell: str(cell.batch)
            )
            if axis == "batch"
            else _scaling(
                f"{name} {phase}, {other}, {precision}",
                axis,
                members,
                _place_of_size(name, members),
                lambda cell: cell.size,
            )
        )
        if made is not None:
            found.append((precision, made))
    found.sort(key=lambda pair: (pair[1].axis, precision_order(pair[0])))
    return [made for _, made in found]


def _batches_of(summaries: Sequence[CellSummary]) -> Callable[[Cell], str]:
    """Of a cell: ``batch 8``, or ``each at its own batch`` where sizes have one batch each, and not the same."""
    batches: dict[tuple[str, str], dict[str, set[int]]] = {}
    for one in summaries:
        sizes = batches.setdefault((one.cell.workload, one.cell.phase), {})
        sizes.setdefault(one.cell.size, set()).add(one.cell.batch)

    def told(cell: Cell) -> str:
        sizes = batches[cell.workload, cell.phase].values()
        own = all(len(found) == 1 for found in sizes) and len(set().union(*sizes)) > 1
        return "each at its own batch" if own else f"batch {cell.batch}"

    return told


def _place_of_batch(cell: Cell) -> float:
    return float(cell.batch)


def _place_of_size(name: str, members: Sequence[CellSummary]) -> Callable[[Cell], float]:
    """Place of each size, from 1: in the workload's own order where this twinbench knows it, else as they come."""
    seen = list(dict.fromkeys(one.cell.size for one in members))
    known = list(workload.get(name).sizes) if name in workload.names() else []
    ordered = [size for size in known if size in seen] + [size for size in seen if size not in known]
    return lambda cell: ordered.index(cell.size) + 1.0


def _scaling(
    label: str, axis: str, members: Sequence[CellSummary], place: Callable[[Cell], float], name: Callable[[Cell], str]
) -> Scaling | None:
    rated = [one for one in members if speed(one) is not None]
    lines: dict[tuple[str, str, str], list[CellSummary]] = {}
    for one in members:
        lines.setdefault((one.cell.environment, one.cell.device, one.cell.mode), []).append(one)
    curves = tuple(_curve(words, line, place, name) for words, line in lines.items())
    curves = tuple(curve for curve in curves if curve.points)
    if max((len(curve.points) for curve in curves), default=0) < FEWEST_POINTS[axis]:
        return None
    ticks = sorted({(place(one.cell), name(one.cell)) for one in rated})
    items = next((one.item for one in rated if one.item), "items")
    return Scaling(label, axis, f"{items}/s", tuple(ticks), curves, tuple(_crossovers(curves, axis, dict(ticks))))


def _curve(
    words: tuple[str, str, str],
    members: Sequence[CellSummary],
    place: Callable[[Cell], float],
    name: Callable[[Cell], str],
) -> Curve:
    points = sorted(((place(one.cell), found) for one in members if (found := speed(one))), key=lambda point: point[0])
    ends = [one for one in members if is_end_in_words(one.outcome, one.reason)]
    end = ""
    if ends:
        first = min(ends, key=lambda one: place(one.cell))
        why = "out of memory" if first.outcome == "failed" else outcome_word(first.outcome)
        end = f"{why} at {name(first.cell)}"
    return Curve(*words, tuple(points), end)


def _crossovers(curves: Sequence[Curve], axis: str, names: Mapping[float, str]) -> list[Crossover]:
    """Each accelerator against the CPU of its own environment, else of its family (``jax`` for ``jax-mps``)."""
    found = []
    for curve in curves:
        if curve.device == "cpu":
            continue
        wanted = ((curve.environment, curve.mode), (curve.environment.split("-")[0], curve.mode))
        twins = [
            one for pair in wanted for one in curves if one.device == "cpu" and (one.environment, one.mode) == pair
        ]
        if twins and (made := crossover(twins[0], curve, axis, names)) is not None:
            found.append(made)
    return found


def crossover(cpu: Curve, accelerator: Curve, axis: str, names: Mapping[float, str]) -> Crossover | None:
    """Where the accelerator overtakes the CPU, or the CPU it; None with fewer than two places in common."""
    theirs = dict(cpu.points)
    ratios = [(place, ratio(mine, theirs[place])) for place, mine in accelerator.points if place in theirs]
    if len(ratios) < 2:
        return None
    rises = ratios[0][1].estimate < 1
    faster, slower = (accelerator, cpu) if rises else (cpu, accelerator)
    # Read so that the curve rises through 1: of the one that overtakes, over the other.
    turned = [(place, found if rises else _inverse(found)) for place, found in ratios]
    at = _through_one([(place, found.estimate) for place, found in turned])
    if at is None:
        return Crossover(faster.label, slower.label, None, None, None, _never(ratios, accelerator, cpu, axis, names))
    low = _through_one([(place, found.high) for place, found in turned])
    high = _through_one([(place, found.low) for place, found in turned])
    low = None if (turned[0][1].high or 1) >= 1 else low
    within = _within(low, high, turned, axis, names)
    where = _place(at, axis, names)
    text = f"{faster.label} overtakes {slower.label} {where}{within}{_interpolated(at, turned, axis, names)}"
    crossings = sum((a.estimate < 1) != (b.estimate < 1) for (_, a), (_, b) in pairwise(turned))
    if crossings > 1:
        text += f"; the curves cross {crossings} times, this is the first"
    return Crossover(faster.label, slower.label, at, low, high, text)


def _inverse(one: Interval) -> Interval:
    low, high = (None if end is None else 1 / end for end in (one.high, one.low))
    return Interval(1 / one.estimate, low, high, one.confidence)


def _through_one(points: Sequence[tuple[float, float | None]]) -> float | None:
    """The first place at which a line through the points rises through 1, on log-log axes; None where it never does."""
    before: tuple[float, float] | None = None
    for place, value in points:
        if value is None or value <= 0:
            before = None
            continue
        if value > 1:
            if before is None:
                return place
            (x, y) = before
            share = -math.log(y) / (math.log(value) - math.log(y))
            return math.exp(math.log(x) + share * (math.log(place) - math.log(x)))
        before = (place, value)
    return None


def _place(at: float, axis: str, names: Mapping[float, str]) -> str:
    """``at batch 11``, or ``between tiny and base``: there is nothing between two sizes."""
    if axis == "batch":
        return f"at batch {numbers.significant(at, 2)}"
    below = [place for place in sorted(names) if place <= at + 1e-9]
    above = [place for place in sorted(names) if place >= at - 1e-9]
    if not below or not above or below[-1] == above[0]:
        return f"at {names[min(names, key=lambda place: abs(place - at))]}"
    return f"between {names[below[-1]]} and {names[above[0]]}"


def _interpolated(at: float, turned: Sequence[tuple[float, Interval]], axis: str, names: Mapping[float, str]) -> str:
    """``, interpolated between the measured batches 1 and 8``; "" at a measured one, and for sizes."""
    below = max((place for place, _ in turned if place <= at + 1e-9), default=None)
    above = min((place for place, _ in turned if place >= at - 1e-9), default=None)
    if axis != "batch" or below is None or above is None or below == above:
        return ""
    return f", interpolated between the measured batches {names[below]} and {names[above]}"


def _within(
    low: float | None,
    high: float | None,
    turned: Sequence[tuple[float, Interval]],
    axis: str,
    names: Mapping[float, str],
) -> str:
    """`` (interval 8.3 to 15)``; open ends say so."""
    if any(found.low is None or found.high is None for _, found in turned):
        return " (no interval)"
    if axis != "batch":
        return "" if low is not None and high is not None else " (the interval reaches an end of the range)"
    start = f"below {names[turned[0][0]]}" if low is None else numbers.significant(low, 2)
    stop = f"beyond {names[turned[-1][0]]}" if high is None else numbers.significant(high, 2)
    return f" (interval {start} to {stop})"


def _never(
    ratios: Sequence[tuple[float, Interval]], accelerator: Curve, cpu: Curve, axis: str, names: Mapping[float, str]
) -> str:
    word = "faster" if ratios[0][1].estimate >= 1 else "slower"
    span = f"{axis} {names[ratios[0][0]]} to {names[ratios[-1][0]]}"
    gains = sorted((found for _, found in ratios), key=lambda found: found.estimate)
    least, most = numbers.times(gains[0]), numbers.times(gains[-1])
    level = [names[place] for place, found in ratios if found.low is not None and (found.high or 0) >= 1 >= found.low]
    text = f"no crossover in the range {span}: {accelerator.label} is {word} than {cpu.label} throughout"
    unclear = f"; at {', '.join(level)} the interval includes 1×" if level else ""
    return f"{text} ({least} to {most}){unclear}"
