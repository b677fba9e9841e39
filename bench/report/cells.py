"""Every cell by itself: its row in the list that sorts and filters, and its entry with figures and command. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.cell import Cell
from bench.report import numbers
from bench.report.facts import (
    against,
    command_for,
    find_baselines,
    latency,
    origin,
    outcome_word,
    speed,
    where,
    work_label,
)
from bench.report.sections import noise_text, ratio_text
from bench.report.stages import device_memory_text, energy_text, rates_text
from bench.summary import CellSummary


@dataclass(frozen=True)
class CellRow:
    """One row of the list; ``sort_…`` are plain numbers, "" where there is none."""

    id: str
    work: str
    environment: str
    device: str
    precision: str
    mode: str
    outcome: str
    word: str
    reason: str
    rate: str
    sort_rate: str
    unit: str
    ratio: str
    sort_ratio: str
    p50: str
    sort_p50: str
    error: str
    sort_error: str


def rows(summaries: Sequence[CellSummary], baseline: str) -> list[CellRow]:
    """One per cell, in the order of the cells."""
    bases = find_baselines(summaries, baseline)
    return [_row(one, bases.get(one.cell.work)) for one in summaries]


def _row(one: CellSummary, base: CellSummary | None) -> CellRow:
    cell, rate, times = one.cell, speed(one), latency(one)
    gain = against(one, base)
    is_base = base is not None and base.cell == cell
    return CellRow(
        id=cell.id,
        work=work_label(cell.work),
        environment=cell.environment,
        device=cell.device,
        precision=cell.precision,
        mode=cell.mode,
        outcome=one.outcome,
        word=outcome_word(one.outcome),
        reason=" ".join(one.reason.split()),
        rate="–" if rate is None else f"{numbers.rate(rate)} {numbers.spread(rate)}",
        sort_rate="" if rate is None else f"{rate.estimate:.9g}",
        unit=f"{one.item}/s" if one.item and rate is not None else "",
        ratio="baseline" if is_base else ratio_text(gain) or "–",
        sort_ratio="1" if is_base else "" if gain is None else f"{gain.estimate:.9g}",
        p50="–" if times is None else numbers.duration(times[0]),
        sort_p50="" if times is None else f"{times[0]:.9g}",
        error="–" if one.limit is None else numbers.error(one.error),
        sort_error="" if one.error is None else f"{one.error:.9g}",
    )


@dataclass(frozen=True)
class CellEntry:
    """All about one cell that fits a few lines, and the command that measures it alone ("" where it was imported)."""

    id: str
    label: str
    outcome: str
    word: str
    told: str
    reason: str
    has_log: bool
    facts: tuple[tuple[str, str], ...]
    command: str
    origin: str


def entries(summaries: Sequence[CellSummary], options: Mapping[Cell, Sequence[str]]) -> list[CellEntry]:
    """One per cell, in the order of the cells; ``options`` are those that its run was made with."""
    return [_entry(one, options.get(one.cell, ())) for one in summaries]


def _entry(one: CellSummary, options: Sequence[str]) -> CellEntry:
    rate, times = speed(one), latency(one)
    told = "" if rate is None else f"{numbers.rate(rate)} {one.item}/s {numbers.spread(rate)}"
    within = "" if rate is None else numbers.ends(rate)
    facts = [("throughput, 95 %", f"{within} {one.item}/s" if within else ""), ("also", rates_text(one))]
    if times is not None:
        facts.append(("latency p50 / p90 / p99", numbers.latencies(times, one.latency_samples)))
    if one.limit is not None:
        facts.append(("error, limit", f"{numbers.error(one.error)}, {numbers.error(one.limit)}"))
    facts += [
        ("processes", f"{one.processes} of {one.attempted} in the estimate"),
        ("noise", noise_text(one)),
        ("memory of the device", device_memory_text(one) if rate is not None else ""),
        ("energy per item", energy_text(one) if rate is not None else ""),
    ]
    return CellEntry(
        id=one.cell.id,
        label=one.cell.label,
        outcome=one.outcome,
        word=outcome_word(one.outcome),
        told=told,
        reason=one.reason,
        has_log=bool(one.log_tail),
        facts=tuple((name, value) for name, value in facts if value),
        command="" if one.imported is not None else command_for(one.cell, options),
        origin=origin(one, options),
    )


def baseline_choices(summaries: Sequence[CellSummary]) -> list[tuple[str, str]]:
    """(pattern, words) of everything that can be 1×: each environment, device, precision and mode that has a speed."""
    found = {}
    for one in summaries:
        if speed(one) is not None:
            cell = one.cell
            found["/".join((cell.environment, cell.device, cell.precision, cell.mode))] = where(cell)
    return sorted(found.items(), key=lambda pair: pair[1])
