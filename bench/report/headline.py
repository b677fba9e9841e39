"""The answer in a sentence: who is fastest where, what an accelerator gains, how many cells can be believed. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench.cell import UNKNOWN
from bench.report import numbers
from bench.report.facts import (
    Acceleration,
    accelerations,
    against,
    by_work,
    count,
    find_baselines,
    leaders,
    outcome_counts,
    outcome_word,
    place,
    speed,
    where,
    work_label,
)
from bench.report.ranking import over_cpu
from bench.report.sections import ratio_text
from bench.summary import CellSummary, Interval


@dataclass(frozen=True)
class Answer:
    """Of one work: the fastest (all places that are level at the top), alone or not, and its gain on the baseline.

    ``fastest`` and ``at_fp32`` are [] where fewer than two cells have an interval.
    """

    work: str
    baseline: CellSummary | None
    fastest: tuple[CellSummary, ...]
    alone: bool
    gain: Interval | None
    at_fp32: tuple[CellSummary, ...]
    alone_at_fp32: bool

    @property
    def text(self) -> str:
        return _names(self.fastest, self.alone)

    @property
    def text_at_fp32(self) -> str:
        return _names(self.at_fp32, self.alone_at_fp32)

    @property
    def baseline_text(self) -> str:
        return "none" if self.baseline is None else where(self.baseline.cell)

    @property
    def gain_text(self) -> str:
        if self.baseline is not None and self.fastest and self.fastest[0].cell == self.baseline.cell:
            return "is the baseline"
        if self.gain is None:
            return "–"
        return ratio_text(self.gain)


def answers(summaries: Sequence[CellSummary], baseline: str) -> list[Answer]:
    """One per work."""
    baselines = find_baselines(summaries, baseline)
    found = []
    for work, members in by_work(summaries).items():
        fastest, alone = leaders(members, by_place=True)
        at_fp32, alone_at_fp32 = leaders([one for one in members if one.cell.precision == "fp32"], by_place=True)
        base = baselines.get(work)
        gain = against(fastest[0], base) if fastest else None
        found.append(Answer(work_label(work), base, tuple(fastest), alone, gain, tuple(at_fp32), alone_at_fp32))
    return found


def headline(summaries: Sequence[CellSummary], baseline: str) -> str:
    """One sentence that answers which is fastest, or says that nothing can be said and why."""
    rated = [one for one in summaries if speed(one) is not None]
    if not rated:
        return f"Nothing can be said about speed: none of {count(len(summaries), 'cell')} gave a measurement."
    if len(rated) == 1:
        return f"One cell was measured, {where(rated[0].cell)}, so there is nothing to compare it with."
    gains = accelerations(summaries)
    if gains:
        return _accelerated(gains)
    found = answers(summaries, baseline)
    decided = [answer for answer in found if answer.fastest]
    if not decided and any(one.imported for one in rated):
        return (
            "No winner can be named: imported cells were not verified, and no work has two others with an interval "
            "(2 or more processes a cell)."
        )
    if not decided:
        return "No winner can be named: no work has two cells with an interval (2 or more processes a cell)."
    if len(found) == 1:
        return _single(found[0])
    return _counted(found, decided, len({place(one.cell) for one in rated}) > 1) + _gains(decided) + "."


def _counted(found: Sequence[Answer], decided: Sequence[Answer], by_place: bool) -> str:
    """``jax/cpu is fastest in 1 of 6 works; no clear winner in 5``; cells where all of them ran in one place."""
    name = place if by_place else where
    winners = Counter(name(answer.fastest[0].cell) for answer in decided if answer.alone)
    first = winners.most_common(3)
    told = [f"{winner} is fastest in {wins} of {len(found)} works" for winner, wins in first]
    others = sum(winners.values()) - sum(wins for _, wins in first)
    level = len(decided) - sum(winners.values())
    if not told:
        noun = "environment" if by_place else "cell"
        told.append(f"no clear winner in {level} of {len(found)} works: the intervals of the top {noun}s overlap")
    else:
        told += [f"others in {others}"] if others else []
        told += [f"no clear winner in {level}"] if level else []
    if len(found) > len(decided):
        told.append(f"nothing to compare in {len(found) - len(decided)}")
    text = "; ".join(told)
    return text if winners else text[0].upper() + text[1:]


#: How devices are written where a sentence is about them.
DEVICE_NAMES = {"cpu": "the CPU", "cuda": "CUDA", "metal": "Metal"}


def device_name(device: str) -> str:
    """``CUDA``; a word from a later version stands as it is."""
    return DEVICE_NAMES.get(device, device)


def _accelerated(gains: Sequence[Acceleration]) -> str:
    """``On CUDA, torch runs at 12× (11–13×) and jax at 9.8× (9.6–10×) the speed of its own CPU side (...).``

    Means over the same cells only: whoever lacks some of them is named after the sentence, without a figure.
    """
    told, lacking = [], []
    for gain in gains:
        found = over_cpu(gain)
        names = {one.name: one.name.replace(f"/{gain.device}", "", 1) for one in (*found.ranked, *found.apart)}
        each = [f"{names[one.name]} at {ratio_text(one.mean)}" for one in found.ranked[:4]]
        each += [f"{len(found.ranked) - 4} more"] if len(found.ranked) > 4 else []
        joined = each[0] if len(each) == 1 else f"{', '.join(each[:-1])} and {each[-1]}"
        told.append(
            f"on {device_name(gain.device)}, {joined.replace(' at ', ' runs at ', 1)} the speed of its own CPU side "
            f"(geometric mean of {count(found.shared, 'cell')}{' that all of these have' if len(each) > 1 else ''})"
        )
        lacking += [names[one.name] for one in found.apart]
    text = "; ".join(told)
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        text += f"; not the same cells, so not ranked: {', '.join(lacking[:3])}{more}"
    return f"{text[0].upper()}{text[1:]}."


def acceleration_sentence(found: Acceleration) -> str:
    """The geometric mean over the pairs that both sides have, with its range."""
    low, high = (numbers.times(Interval(value, None, None)) for value in (found.low, found.high))
    within = numbers.times_span(found.interval)
    interval = f", interval {within}" if within else ""
    return (
        f"{device_name(found.device)} over CPU: {numbers.times(found.interval)}{interval}, as a geometric mean over "
        f"{count(found.pairs, 'cell')} that both have (from {low} to {high}); "
        f"{count(len(found.excluded), 'cell')} left out."
    )


def no_acceleration(summaries: Sequence[CellSummary]) -> str:
    """Why there is no accelerator figure; "" where there is one."""
    devices = sorted({one.cell.device for one in summaries} - {"cpu"})
    if accelerations(summaries):
        return ""
    if not devices:
        return "No accelerator in these runs: all cells ran on the CPU."
    if devices == [UNKNOWN]:
        return "No accelerator figure: an imported file does not say on which device it was measured."
    return f"No accelerator figure: no cell was measured both on {' or '.join(devices)} and on the CPU."


def counts_sentence(summaries: Sequence[CellSummary]) -> str:
    """``62 cells: 58 measured, 1 wrong, 3 unsupported.``"""
    counts = outcome_counts(summaries)
    told = ", ".join(f"{number} {outcome_word(outcome)}" for outcome, number in counts.items())
    imported = sum(one.imported is not None for one in summaries)
    warning = f" {count(imported, 'cell')} imported from other tools: not verified." if imported else ""
    return f"{count(len(summaries), 'cell')}: {told}.{warning}" if told else "No cells."


def _names(fastest: Sequence[CellSummary], alone: bool) -> str:
    if not fastest:
        return "cannot tell"
    if alone:
        return where(fastest[0].cell)
    shown = " ≈ ".join(where(one.cell) for one in fastest[:3])
    return shown + (f" ≈ {len(fastest) - 3} more" if len(fastest) > 3 else "")


def _single(answer: Answer) -> str:
    base = "" if answer.baseline is None else f" {where(answer.baseline.cell)}"
    if not answer.alone:
        names = " and ".join(dict.fromkeys(place(one.cell) for one in answer.fastest))
        who = names if len({place(one.cell) for one in answer.fastest}) > 1 else f"{len(answer.fastest)} cells"
        return f"{answer.work}: no clear winner; the intervals of {who} overlap at the top."
    if answer.gain is None:
        return f"{answer.work}: {answer.text} is fastest" + (", and is the baseline." if base else ".")
    return f"{answer.work}: {answer.text} is fastest, {ratio_text(answer.gain)} the speed of{base}."


def _gains(decided: Sequence[Answer]) -> str:
    """``; the fastest reach 1.3× (1.2–1.4×) to 1.9× (1.8–2.0×) the speed of torch/cpu fp32 eager``.

    Only where all works share that baseline.
    """
    gains = [answer.gain for answer in decided if answer.gain is not None]
    bases = {where(answer.baseline.cell) for answer in decided if answer.baseline is not None}
    if not gains or len(bases) != 1:
        return ""
    low = min(gains, key=lambda gain: gain.estimate)
    high = max(gains, key=lambda gain: gain.estimate)
    span = ratio_text(low) if low == high else f"{ratio_text(low)} to {ratio_text(high)}"
    return f"; the fastest reach {span} the speed of {bases.pop()}"
