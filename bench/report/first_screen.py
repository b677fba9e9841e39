"""The five questions that everybody has, answered in a line each: faster, slower where, wrong, which machine, how sure.

Pure. Each answer has a link to the part of the page that holds the rest.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report import numbers
from bench.report.facts import (
    Acceleration,
    accelerations,
    against,
    count,
    find_baselines,
    outcome_counts,
    outcome_word,
    speed,
    where,
)
from bench.report.headline import device_name
from bench.report.machines import text
from bench.summary import CellSummary, Interval


@dataclass(frozen=True)
class Card:
    """One answer. ``tone``: good, bad, or "" where neither; ``link`` is the id of the section with the rest."""

    name: str
    question: str
    answer: str
    detail: str
    link: str
    tone: str = ""


def cards(summaries: Sequence[CellSummary], baseline: str) -> list[Card]:
    """The five, in the order in which people ask."""
    gains = accelerations(summaries)
    return [
        _faster(summaries, gains),
        _slower(summaries, gains, baseline),
        _wrong(summaries),
        _machine(summaries),
        _sure(summaries),
    ]


def _faster(summaries: Sequence[CellSummary], gains: Sequence[Acceleration]) -> Card:
    devices = sorted({one.cell.device for one in summaries} - {"cpu"})
    names = " and ".join(map(device_name, devices)) or "the accelerator"
    question = f"Is {names} faster than the CPU?"
    if not devices:
        return Card("faster", question, "No accelerator", "All cells of these runs are on the CPU.", "answers")
    if not gains:
        return Card("faster", question, "Cannot tell", "No cell was measured on both.", "answers")
    told = []
    for gain in gains:
        within = numbers.times_span(gain.interval)
        name = f"{device_name(gain.device)} " if len(gains) > 1 else ""
        told.append(f"{name}{numbers.times(gain.interval)}" + (f" ({within})" if within else ""))
    pairs, faster = sum(gain.pairs for gain in gains), sum(gain.faster for gain in gains)
    word = "Yes" if faster == pairs else "No" if not faster else "Mostly" if faster > pairs / 2 else "Partly"
    detail = f"{', '.join(told)}; clearly faster in {faster} of {count(pairs, 'cell')} that both have."
    return Card("faster", question, word, detail, "answers", "good" if faster > pairs / 2 else "")


def _slower(summaries: Sequence[CellSummary], gains: Sequence[Acceleration], baseline: str) -> Card:
    if gains:
        slower = sorted((pair for gain in gains for pair in gain.slower), key=lambda pair: pair[1].estimate)
        if not slower:
            return Card("slower", "Where is it slower?", "Nowhere", "No interval lies below 1×.", "grid", "good")
        worst, ratio = slower[0]
        detail = f"Most in {worst.cell.label}: {numbers.times(ratio)} its CPU."
        return Card("slower", "Where is it slower?", f"In {count(len(slower), 'cell')}", detail, "slower", "bad")
    bases = find_baselines(summaries, baseline)
    found = [(one, gain) for one in summaries if (gain := against(one, bases.get(one.cell.work))) is not None]
    below = [(one, gain) for one, gain in found if gain.high is not None and gain.high < 1]
    question = "What is slower than the baseline?"
    if not below:
        return Card("slower", question, "Nothing clearly", "No interval lies below 1×.", "grid")
    worst, ratio = min(below, key=lambda pair: pair[1].estimate)
    detail = f"Most: {worst.cell.label}, {numbers.times(ratio)} the speed of {where(bases[worst.cell.work].cell)}."
    return Card("slower", question, f"{len(below)} of {count(len(found), 'cell')}", detail, "grid")


def _wrong(summaries: Sequence[CellSummary]) -> Card:
    question = "Is anything wrong?"
    counts = outcome_counts(summaries)
    missing = {outcome: number for outcome, number in counts.items() if outcome != "measured"}
    bad = sum(number for outcome, number in missing.items() if outcome != "unsupported")
    if not summaries:
        return Card("wrong", question, "No cells", "Nothing was asked for.", "problems", "bad")
    if not missing:
        checked = sum(1 for one in summaries if one.limit is not None)
        detail = f"All {count(len(summaries), 'cell')} measured; outputs of {checked} checked, all within their limits."
        imported = sum(1 for one in summaries if one.imported is not None)
        if imported:
            detail += f" {imported} imported and not verified."
        answer, tone = ("Nothing seen", "") if imported else ("Nothing", "good")
        return Card("wrong", question, answer, detail, "parity", tone)
    told = ", ".join(f"{number} {outcome_word(outcome)}" for outcome, number in missing.items())
    answer = f"{bad} wrong or failed" if bad else "Nothing wrong"
    return Card("wrong", question, answer, f"{told}, of {count(len(summaries), 'cell')}; no speed is shown for them.",
                "problems", "bad" if bad else "")  # fmt: skip


def _machine(summaries: Sequence[CellSummary]) -> Card:
    question = "On which machine?"
    known = [one.fingerprint for one in summaries if one.fingerprint is not None]
    if not known:
        return Card("machine", question, "Unknown", "No record says.", "machine", "bad")
    chips = Counter(_chip(found.machine) for found in known).most_common()
    more = f" and {len(chips) - 1} more" if len(chips) > 1 else ""
    machine = known[0].machine
    cores = machine.get("usable_cores") or machine.get("physical_cores")
    facts = [f"{cores:g} cores" if isinstance(cores, int | float) else "cores unknown"]
    gpus = sorted({one.fingerprint.device_name or "unknown accelerator" for one in summaries
                   if one.fingerprint is not None and one.cell.device != "cpu"})  # fmt: skip
    facts += gpus[:2] or (["no GPU in use"])
    facts.append(text(machine.get("os_version") or machine.get("system")))
    facts += ["virtual"] if machine.get("virtualised") else []
    return Card("machine", question, f"{chips[0][0]}{more}", "; ".join(facts) + ".", "machine", "bad" if more else "")


def _chip(machine: object) -> str:
    facts = machine if isinstance(machine, dict) else {}
    cpu = facts.get("cpu")
    return text(facts.get("chip") or facts.get("model") or (cpu.get("name") if isinstance(cpu, dict) else None))


def _sure(summaries: Sequence[CellSummary]) -> Card:
    question = "How sure are we?"
    rates = [(one, rate) for one in summaries if (rate := speed(one)) is not None]
    widths = [width for _, rate in rates if (width := numbers.relative_half_width(rate)) is not None]
    states = sum((Counter(one.states) for one in summaries), Counter())
    quiet, processes = states["quiet"], states.total() - states["not measured"]
    noise = f"{quiet} of {count(processes, 'process').replace('processs', 'processes')} were quiet"
    if not widths:
        why = "One process a cell gives no interval." if rates else "Nothing was measured."
        return Card("sure", question, "Cannot tell", f"{why} {noise[0].upper()}{noise[1:]}.", "machine", "bad")
    each = Counter(one.processes for one, _ in rates).most_common(1)[0][0]
    single = len(rates) - len(widths)
    alone = f", {count(single, 'cell')} without an interval" if single else ""
    middle = statistics.median(widths)
    over = f"median of {count(len(widths), 'cell')}{alone}; mostly {each} processes a cell"
    detail = f"Half-width of the 95 % interval, {over}; {noise}."
    return Card("sure", question, f"±{numbers.percent(middle)}", detail, "machine", "bad" if middle > 0.2 else "")


def slower_rows(summaries: Sequence[CellSummary]) -> list[tuple[str, str, Interval]]:
    """(id, label, ratio) of every cell that an accelerator computes more slowly than its CPU, the slowest first."""
    pairs = sorted(
        (pair for gain in accelerations(summaries) for pair in gain.slower), key=lambda pair: pair[1].estimate
    )
    return [(one.cell.id, one.cell.label, ratio) for one, ratio in pairs]
