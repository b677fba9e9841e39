"""What tables and figures read off summaries: grouping, baselines, ratios, order, wording. Pure.

``speed`` is the one door to a rate: a cell that is not ``measured`` has none, whatever its summary carries.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from bench import environments
from bench.cell import PRECISIONS, Cell
from bench.summary import CellSummary, Interval, Latency

if TYPE_CHECKING:
    from bench.verdict import Comparison

Work = tuple[str, str, str, str, int]
DEFAULT_BASELINE = "torch/cpu/fp32/eager"
#: Outcomes in the order in which they are told, with their words for people.
OUTCOMES = {
    "measured": "measured",
    "wrong": "wrong",
    "implausible": "implausible",
    "unsupported": "unsupported",
    "failed": "failed",
    "timed_out": "timed out",
}


def speed(summary: CellSummary) -> Interval | None:
    """Throughput, only where the outputs were right and the timing plausible."""
    return summary.throughput if summary.outcome == "measured" else None


def latency(summary: CellSummary) -> Latency | None:
    """(p50, p90, p99) in seconds, under the same condition as ``speed``; None in it where samples were too few."""
    return summary.latency_s if summary.outcome == "measured" else None


def outcome_word(outcome: str) -> str:
    """``timed out`` for ``timed_out``; a word from a later version stands as it is."""
    return OUTCOMES.get(outcome, outcome)


def by_work(summaries: Iterable[CellSummary]) -> dict[Work, list[CellSummary]]:
    """Summaries that do the same work, in order of first appearance."""
    works: dict[Work, list[CellSummary]] = {}
    for summary in summaries:
        works.setdefault(summary.cell.work, []).append(summary)
    return works


def work_label(work: Work) -> str:
    """``mlp:digits training/sgd, batch 64``."""
    workload, size, phase, variant, batch = work
    cell = Cell(workload, size, phase, variant, batch, "", "", "", "")
    return f"{workload}:{size} {cell.phase_label}, batch {batch}"


def where(cell: Cell) -> str:
    """``torch/cpu fp32 eager``: a cell within its work."""
    return f"{cell.environment}/{cell.device} {cell.precision} {cell.mode}"


def reference_words(cell: Cell, producer: str | None, error: float | None) -> str:
    """Who made the reference, "" for None; ``torch 2.13.0 cpu fp32 (itself)`` where the cell did.

    An error of exactly 0 then says that the cell repeats itself, and nothing about its being right.
    """
    if not producer:
        return ""
    framework = cell.environment.partition("@")[0].partition("-")[0]
    same = producer.startswith(f"{framework} ") and producer.endswith(f" {cell.device} {cell.precision}")
    # torch makes it for all (``run.reference_producer``): torch@newest may be compared with another torch.
    own = framework != "torch" or cell.environment == "torch"
    return f"{producer} (itself)" if same and own and error == 0 else producer


def place(cell: Cell) -> str:
    """``torch/cpu``: where it ran."""
    return f"{cell.environment}/{cell.device}"


def precision_order(precision: str) -> tuple[int, str]:
    """Sort key: the house's order, then unknown names by alphabet."""
    return (PRECISIONS.index(precision) if precision in PRECISIONS else len(PRECISIONS), precision)


def ratio(of: Interval, to: Interval) -> Interval:
    """``of / to`` with an interval from both (method of variance estimates recovery, Zou and Donner 2008, on logs)."""
    log_ratio = math.log(of.estimate / to.estimate)
    if of.low is None or of.high is None or to.low is None or to.high is None:
        return Interval(of.estimate / to.estimate, None, None, of.confidence)
    below = math.hypot(math.log(of.estimate / of.low), math.log(to.high / to.estimate))
    above = math.hypot(math.log(of.high / of.estimate), math.log(to.estimate / to.low))
    return Interval(math.exp(log_ratio), math.exp(log_ratio - below), math.exp(log_ratio + above), of.confidence)


def matches(cell: Cell, pattern: str) -> bool:
    """Whether the cell fits ``environment/device/precision/mode``; each part may hold ``*``, parts left out fit all."""
    words = (cell.environment, cell.device, cell.precision, cell.mode)
    parts = pattern.split("/")
    return len(parts) <= len(words) and all(
        fnmatchcase(word, part or "*") for word, part in zip(words, parts, strict=False)
    )


def find_baselines(summaries: Iterable[CellSummary], pattern: str) -> dict[Work, CellSummary]:
    """The cell that the others of its work are divided by; works without one are absent.

    With a ``pattern``, the first measured cell that fits it. Without (""), ``torch/cpu/fp32/eager`` if it was measured,
    otherwise the first measured cell of the work. Imported ones were not verified: only where there is no other.
    """
    found: dict[Work, CellSummary] = {}
    for work, members in by_work(summaries).items():
        measured = [summary for summary in members if speed(summary) is not None]
        measured.sort(key=lambda one: one.imported is not None)
        fitting = [summary for summary in measured if matches(summary.cell, pattern or DEFAULT_BASELINE)]
        choice = fitting or ([] if pattern else measured)
        if choice:
            found[work] = choice[0]
    return found


def against(summary: CellSummary, baseline: CellSummary | None) -> Interval | None:
    """Speed over the baseline's; None where either has no speed, or the cell is the baseline itself."""
    if baseline is None or summary.cell == baseline.cell:
        return None
    mine, theirs = speed(summary), speed(baseline)
    return None if mine is None or theirs is None else ratio(mine, theirs)


def cpu_twin(summary: CellSummary, by_cell: Mapping[Cell, CellSummary]) -> CellSummary | None:
    """The same cell on the CPU, at the same version of the framework: of its environment, or of its baseline's."""
    return by_cell.get(environments.cpu_twin(summary.cell))


def mean_ratio(ratios: Sequence[Interval]) -> Interval:
    """Geometric mean with an interval from those of the ratios (variance estimates recovery on logs, as in ``ratio``).

    The interval is that of the measurement: over these very cells, not over workloads at large. None where one of the
    ratios has none.
    """
    mean = math.exp(sum(math.log(one.estimate) for one in ratios) / len(ratios))
    ends = [(one.estimate, one.low, one.high) for one in ratios if one.low is not None and one.high is not None]
    if len(ends) < len(ratios):
        return Interval(mean, None, None)
    below = math.hypot(*(math.log(estimate / low) for estimate, low, _ in ends)) / len(ends)
    above = math.hypot(*(math.log(high / estimate) for estimate, _, high in ends)) / len(ends)
    return Interval(mean, mean * math.exp(-below), mean * math.exp(above), ratios[0].confidence)


@dataclass(frozen=True)
class Acceleration:
    """Accelerators over CPUs. ``interval`` is the geometric mean of ``members``: an accelerator's cell, and its ratio.

    ``low`` and ``high`` are the smallest and largest ratio; ``excluded`` says
    who is not in it, and why.
    """

    device: str
    interval: Interval
    members: tuple[tuple[CellSummary, Interval], ...]
    excluded: tuple[str, ...]

    @property
    def gain(self) -> float:
        return self.interval.estimate

    @property
    def pairs(self) -> int:
        return len(self.members)

    @property
    def low(self) -> float:
        return min(found.estimate for _, found in self.members)

    @property
    def high(self) -> float:
        return max(found.estimate for _, found in self.members)

    @property
    def slower(self) -> list[tuple[CellSummary, Interval]]:
        """Cells of which the whole interval lies below 1×, the slowest first."""
        found = [(one, gain) for one, gain in self.members if gain.high is not None and gain.high < 1]
        return sorted(found, key=lambda pair: pair[1].estimate)

    @property
    def faster(self) -> int:
        """How many cells have their whole interval above 1×."""
        return sum(1 for _, gain in self.members if gain.low is not None and gain.low > 1)


def accelerations(summaries: Sequence[CellSummary]) -> list[Acceleration]:
    """One entry per accelerator that has at least one pair of measured cells; the CPU gives none."""
    by_cell = {summary.cell: summary for summary in summaries}
    groups: dict[str, list[CellSummary]] = {}
    for one in summaries:
        if one.cell.device != "cpu":
            groups.setdefault(one.cell.device, []).append(one)
    found = []
    for device, members in sorted(groups.items()):
        gains: list[tuple[CellSummary, Interval]] = []
        excluded: list[str] = []
        for one in members:
            twin = cpu_twin(one, by_cell)
            gain = against(one, twin)
            if gain is not None and not _imported(one, twin):
                gains.append((one, gain))
            else:
                excluded.append(f"{one.cell.label}: {_no_pair(one, twin)}")
        if gains:
            mean = mean_ratio([gain for _, gain in gains])
            found.append(Acceleration(device, mean, tuple(gains), tuple(excluded)))
    return found


def _imported(*sides: CellSummary | None) -> bool:
    return any(side is not None and side.imported is not None for side in sides)


def _no_pair(summary: CellSummary, twin: CellSummary | None) -> str:
    if _imported(summary, twin):
        return "imported, not verified"
    if speed(summary) is None:
        return outcome_word(summary.outcome)
    return "no such cell on the CPU" if twin is None else f"{outcome_word(twin.outcome)} on the CPU"


def leaders(members: Sequence[CellSummary], by_place: bool = False) -> tuple[list[CellSummary], bool]:
    """The fastest of cells with speed, and whether it is alone.

    Alone: its interval lies above all others. Otherwise everyone whose interval reaches the fastest's, fastest first.
    Fewer than two cells with an interval have no leader: there is nothing to win. Imported cells do not compete: their
    outputs were not verified.

    ``by_place``: between environments and devices, of each its fastest that reaches that far: an environment is not
    level with itself. Where there is one place only, its cells compete as above.
    """
    competing = [one for one in members if one.imported is None]
    rated = [(one, found) for one in competing if (found := speed(one)) is not None and found.low is not None]
    if len(rated) < 2:
        return [], False
    rated.sort(key=lambda pair: -pair[1].estimate)
    floor = rated[0][1].low
    assert floor is not None
    near = [one for one, interval in rated if interval.high is not None and interval.high >= floor]
    if by_place and len({place(one.cell) for one, _ in rated}) > 1:
        firsts: dict[str, CellSummary] = {}
        for one in near:
            firsts.setdefault(place(one.cell), one)
        near = list(firsts.values())
    return near, len(near) == 1


def outcome_counts(summaries: Iterable[CellSummary]) -> dict[str, int]:
    """How many cells per outcome, in telling order, only those that occur."""
    counts = Counter(summary.outcome for summary in summaries)
    known = {outcome: counts.pop(outcome) for outcome in OUTCOMES if outcome in counts}
    return known | dict(sorted(counts.items()))


def unspeakable(summaries: Sequence[CellSummary]) -> set[str]:
    """Ids of cells whose speed must not be shown, in whatever form it arrives."""
    return {one.cell.id for one in summaries if one.outcome in ("wrong", "implausible")}


def without_wrong(comparisons: Sequence[Comparison], summaries: Sequence[CellSummary]) -> list[tuple[int, Comparison]]:
    """Comparisons of which both sides may be shown, each with its number in the table (from 1)."""
    hidden = unspeakable(summaries)
    return [(number, one) for number, one in enumerate(comparisons, 1) if not {one.cell_a.id, one.cell_b.id} & hidden]


def count(number: int, noun: str) -> str:
    """``1 cell``, ``2 cells``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def origin(summary: CellSummary, options: Sequence[str] = ()) -> str:
    """The command that measures the cell with its run's ``options``, or where it was imported from."""
    if summary.imported is None:
        return command_for(summary.cell, options)
    return f"imported from a file of {summary.imported}, not verified"


def command_for(cell: Cell, options: Sequence[str] = ()) -> str:
    """The command line that measures this cell alone, quoted for a POSIX shell; ``options`` are those of its run."""
    words = ["twinbench", "run", f"{cell.workload}:{cell.size}", "--phase", cell.phase, "--variant", cell.variant]
    words += ["--environment", cell.environment, "--device", cell.device, "--precision", cell.precision]
    words += ["--mode", cell.mode, "--batch", str(cell.batch), *options]
    return shlex.join(words)
