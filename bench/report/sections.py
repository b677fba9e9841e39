"""The tables of the page as plain values, ready for a template: all wording and all arithmetic, no HTML. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.cell import Cell
from bench.labels import EMULATED, IMPORTED, NOT_VERIFIED, STABLE
from bench.report import numbers
from bench.report.facts import (
    DEFAULT_BASELINE,
    Work,
    against,
    by_work,
    cpu_twin,
    find_baselines,
    latency,
    leaders,
    outcome_word,
    precision_order,
    reference_words,
    speed,
    where,
    work_label,
)
from bench.summary import CellSummary, Interval

#: Ratios from which a square is tinted more deeply; the same steps downwards.
TINT_STEPS = (1.0, 1.5, 3.0, 10.0)
SHORT_REASON = 60


@dataclass(frozen=True)
class Square:
    """One square of the grid. ``kind`` is ``speed``, an outcome, or ``empty`` where nobody asked."""

    kind: str
    value: str = ""
    spread: str = ""
    ratio: str = ""
    on_cpu: str = ""
    mark: str = ""
    tint: str = ""
    title: str = ""
    anchor: str = ""
    noise: str = ""
    #: Id and pattern of the cell, and its rate with both ends: what the page's script makes other ratios of.
    id: str = ""
    place: str = ""
    rate: str = ""


@dataclass(frozen=True)
class Row:
    """One environment, device and mode across the precisions."""

    environment: str
    device: str
    mode: str
    squares: tuple[Square, ...]


@dataclass(frozen=True)
class WorkTable:
    """The grid of one work. ``unit`` stands in its heading; ``members`` feed its figures."""

    work: Work
    label: str
    anchor: str
    unit: str
    baseline: str
    precisions: tuple[str, ...]
    rows: tuple[Row, ...]
    members: tuple[CellSummary, ...]
    base: CellSummary | None


def grid(summaries: Sequence[CellSummary], pattern: str) -> list[WorkTable]:
    """One table per work, rows in the order of environment, device and mode."""
    baselines = find_baselines(summaries, pattern)
    by_cell = {one.cell: one for one in summaries}
    tables = []
    for index, (work, members) in enumerate(by_work(summaries).items()):
        base = baselines.get(work)
        precisions = sorted({one.cell.precision for one in members}, key=precision_order)
        rates = [found for one in members if (found := speed(one)) is not None]
        scale = numbers.rate_scale(rate.estimate for rate in rates)
        marks = _marks(members, precisions)
        rows: dict[tuple[str, str, str], dict[str, Square]] = {}
        for one in members:
            cell = one.cell
            square = _square(one, base, scale, marks.get(cell, ""), by_cell)
            rows.setdefault((cell.environment, cell.device, cell.mode), {})[cell.precision] = square
        tables.append(
            WorkTable(
                work=work,
                label=work_label(work),
                anchor=f"work-{index}",
                unit=f"{scale.prefix}{' ' if scale.prefix else ''}{_item(members)}/s",
                baseline=baseline_text(base, pattern),
                precisions=tuple(precisions),
                rows=tuple(
                    Row(*words, tuple(squares.get(precision, Square("empty")) for precision in precisions))
                    for words, squares in rows.items()
                ),
                members=tuple(members),
                base=base,
            )
        )
    return tables


def baseline_text(base: CellSummary | None, pattern: str) -> str:
    """Which cell is 1×, and when it is not the one asked for, why."""
    if base is None:
        return f"no measured cell fits the baseline {pattern}: no ratios" if pattern else "nothing measured: no ratios"
    if not pattern and where(base.cell) != DEFAULT_BASELINE.replace("/", " ").replace(" ", "/", 1):
        return f"1× is {where(base.cell)}, the first measured cell (no {DEFAULT_BASELINE} was measured)"
    return f"1× is {where(base.cell)}"


def _item(members: Sequence[CellSummary]) -> str:
    """The commonest unit; cells of one work count the same thing."""
    counted = Counter(one.item for one in members if one.item).most_common(1)
    return counted[0][0] if counted else "items"


def _marks(members: Sequence[CellSummary], precisions: Sequence[str]) -> dict[Cell, str]:
    """``fastest`` where one cell of a precision stands alone; ``level`` where several intervals overlap at the top."""
    marks: dict[Cell, str] = {}
    for precision in precisions:
        top, alone = leaders([one for one in members if one.cell.precision == precision])
        marks |= {one.cell: "fastest" if alone else "level" for one in top}
    return marks


def _square(
    one: CellSummary, base: CellSummary | None, scale: numbers.Scale, mark: str, by_cell: Mapping[Cell, CellSummary]
) -> Square:
    rate = speed(one)
    if rate is None:
        reason = one.reason or "no reason recorded"
        title = f"{where(one.cell)}: {outcome_word(one.outcome)}: {reason}"
        return Square(one.outcome, outcome_word(one.outcome), shorten(reason), title=title, anchor=f"r-{one.cell.id}",
                      id=one.cell.id, place=_pattern(one.cell))  # fmt: skip
    gain = against(one, base)
    twin = cpu_twin(one, by_cell) if one.cell.device != "cpu" else None
    on_cpu = against(one, twin)
    return Square(
        "speed",
        numbers.rate(rate, scale),
        "1 process, no interval" if rate.low is None and one.processes == 1 else numbers.spread(rate, scale),
        "baseline" if base is not None and base.cell == one.cell else ratio_text(gain),
        f"vs {twin.cell.environment}/cpu {ratio_text(on_cpu)}" if on_cpu is not None and twin is not None else "",
        mark,
        tint(gain),
        _title(one, rate),
        anchor=f"cell-{one.cell.id}",
        noise=noise_text(one),
        id=one.cell.id,
        place=_pattern(one.cell),
        rate=_exact(rate),
    )


def _pattern(cell: Cell) -> str:
    """The cell within its work, as ``--baseline`` names it."""
    return "/".join((cell.environment, cell.device, cell.precision, cell.mode))


def _exact(rate: Interval) -> str:
    """``estimate low high`` to nine digits, the ends left out where there are none."""
    ends = [rate.estimate, rate.low, rate.high]
    return " ".join(f"{end:.9g}" for end in ends if end is not None)


def _title(one: CellSummary, rate: Interval) -> str:
    number = numbers.decimal(rate.estimate, numbers.supported_decimals(rate))
    if rate.low is None or rate.high is None:
        within = "no interval"
    else:
        decimals = numbers.supported_decimals(rate) + 1
        ends = f"{numbers.decimal(rate.low, decimals)} to {numbers.decimal(rate.high, decimals)}"
        within = f"{numbers.percent(rate.confidence)} interval {ends}"
    return f"{where(one.cell)}: {number} {one.item}/s, {within}, {one.processes} of {one.attempted} processes"


def ratio_text(gain: Interval | None) -> str:
    """``1.6× (1.5–1.8×)``, or "" for None."""
    if gain is None:
        return ""
    within = numbers.times_span(gain)
    return f"{numbers.times(gain)} ({within})" if within else numbers.times(gain)


def tint(gain: Interval | None) -> str:
    """``up-1`` … ``up-4`` or ``down-…`` by size; "" where the interval includes 1 or there is none."""
    if gain is None or gain.low is None or gain.high is None or gain.low <= 1 <= gain.high:
        return ""
    size = gain.estimate if gain.estimate > 1 else 1 / gain.estimate
    return f"{'up' if gain.estimate > 1 else 'down'}-{sum(size >= step for step in TINT_STEPS)}"


def noise_text(one: CellSummary) -> str:
    """``1 of 5 noisy``: processes by label of noise; "" on a quiet machine.

    ``emulated`` is about the precision, not about noise: it stands with the precisions.
    """
    told = (STABLE, EMULATED, NOT_VERIFIED, f"{IMPORTED}{one.imported}")
    unquiet = [(label, number) for label, number in sorted(one.labels.items()) if label not in told]
    origin = [f"imported from {one.imported}, not verified"] if one.imported else []
    return ", ".join([*origin, *(f"{number} of {one.attempted} {label}" for label, number in unquiet)])


def shorten(text: str, width: int = SHORT_REASON) -> str:
    """One line of at most ``width`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


@dataclass(frozen=True)
class LatencyTable:
    """(cell, samples, p50, p90, p99, p99/p50), times in ``unit``, for one work; – where samples were too few."""

    label: str
    unit: str
    rows: tuple[tuple[str, ...], ...]


def latency_table(label: str, members: Sequence[CellSummary]) -> LatencyTable | None:
    """The latencies of the cells of one work, or None where it has none."""
    timed = [(one, found) for one in members if (found := latency(one)) is not None]
    if not timed:
        return None
    scale = numbers.time_scale(found[0] for _, found in timed)
    rows = []
    for one, found in timed:
        times = ("–" if value is None else numbers.significant(value / scale.size, 3) for value in found)
        tail = f"{found[2] / found[0]:.1f}×" if found[0] and found[2] is not None else "–"
        rows.append((where(one.cell), f"{one.latency_samples:,}", *times, tail))
    return LatencyTable(label, scale.prefix, tuple(rows))


@dataclass(frozen=True)
class ParityRow:
    """One cell against the reference. ``share`` is error/limit in per cent of the bar, at most 100."""

    cell: str
    outcome: str
    error: str
    limit: str
    share: int
    share_text: str
    producer: str
    effective: str


def parity(summaries: Sequence[CellSummary]) -> list[tuple[str, list[ParityRow], list[tuple[str, str, str]]]]:
    """Per work, the cells that were compared with a reference, and (precision, limit, why) of each tolerance."""
    found = []
    for work, members in by_work(summaries).items():
        compared = [one for one in members if one.limit is not None or one.imported is not None]
        reasons = dict.fromkeys(
            (one.cell.precision, numbers.error(one.limit), one.tolerance_reason or "no reason recorded")
            for one in compared
            if one.limit is not None
        )
        if compared:
            found.append((work_label(work), [_parity_row(one) for one in compared], list(reasons)))
    return found


def _parity_row(one: CellSummary) -> ParityRow:
    if one.imported is not None:
        return ParityRow(
            where(one.cell), "not verified", "–", "–", 0, f"not verified: {one.imported}", "none", "unknown"
        )
    assert one.limit is not None
    usable = one.error is not None and math.isfinite(one.error) and one.limit > 0
    share = one.error / one.limit if usable and one.error is not None else None
    return ParityRow(
        where(one.cell),
        one.outcome,
        numbers.error(one.error),
        numbers.error(one.limit),
        100 if share is None else min(math.ceil(100 * share), 100),
        "over the limit" if share is None or share > 1 else f"{numbers.percent(share)} of it",
        reference_words(one.cell, one.producer, one.error) or "unknown",
        one.effective_precision or "unknown",
    )


#: Stages of start-up in the order in which they run; others are left to the record.
START_UP = (
    ("spawn", "spawn only"),
    ("open", "import and open"),
    ("load", "load"),
    ("first_call", "first call, compile"),
)


def start_up(summaries: Sequence[CellSummary]) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """Per work: (cell, one duration per stage of ``START_UP``); only measured cells."""
    found = []
    for work, members in by_work(summaries).items():
        rows = [
            (where(one.cell), [numbers.duration(one.stages_s.get(stage)) for stage, _ in START_UP])
            for one in members
            if one.outcome == "measured"
        ]
        if rows:
            found.append((work_label(work), rows))
    return found


@dataclass(frozen=True)
class Problem:
    """Cells that ended alike, with one reason and one log between them."""

    outcome: str
    reason: str
    log_tail: str
    cells: tuple[Cell, ...]


def problems(summaries: Sequence[CellSummary]) -> list[tuple[str, list[Problem]]]:
    """(outcome's word, its problems) for all outcomes but ``measured``; wrong ones first."""
    alike: dict[tuple[str, str, str], list[Cell]] = {}
    for one in summaries:
        if one.outcome != "measured":
            alike.setdefault((one.outcome, one.reason or "no reason recorded", one.log_tail), []).append(one.cell)
    order = ("wrong", "implausible", "failed", "timed_out", "unsupported")
    groups: dict[str, list[Problem]] = {outcome: [] for outcome in order}
    for (outcome, reason, log_tail), cells in alike.items():
        groups.setdefault(outcome, []).append(Problem(outcome, reason, log_tail, tuple(cells)))
    return [(outcome_word(outcome), members) for outcome, members in groups.items() if members]


def noise(summaries: Sequence[CellSummary]) -> tuple[list[str], list[tuple[str, str, list[int]]]]:
    """(labels in use, rows of (cell, ``5 of 6``, how many processes carry each label)) of cells that ran."""
    ran = [one for one in summaries if one.labels]
    first = ("stable", "noisy", "contended", "throttled")
    seen = {label for one in ran for label in one.labels}
    labels = [label for label in first if label in seen] + sorted(seen - set(first))
    rows = [
        (one.cell.label, f"{one.processes} of {one.attempted}", [one.labels.get(label, 0) for label in labels])
        for one in ran
    ]
    return labels, rows
