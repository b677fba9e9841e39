"""What every format is made of: the processes of each cell that may show a speed. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench.cell import Cell
from bench.errors import UsageError
from bench.exports.alike import Groups, differences
from bench.labels import plausible
from bench.record import Measured, Measurement, Record
from bench.sentinel import kept
from bench.stats import Interval, interval, percentiles
from bench.summary import CellSummary, summarise


@dataclass(frozen=True)
class Process:
    """One fresh process. ``times_s``: seconds of one iteration, an entry a burst, which had ``iterations`` of them."""

    record: Record
    measurement: Measurement
    times_s: tuple[float, ...]
    iterations: tuple[int, ...]

    @property
    def median_s(self) -> float:
        """The figure of the process: the median over its bursts."""
        return statistics.median(self.times_s)

    @property
    def latency_s(self) -> float | None:
        """Median of single iterations with a fence each; None where they were not timed."""
        taken = self.measurement.latency_ns
        return percentiles(taken, [50.0])[0] * 1e-9 if taken and min(taken) > 0 else None


@dataclass(frozen=True)
class Sampled:
    """A cell that may show its speed, with the processes that are in its estimate."""

    cell: Cell
    summary: CellSummary
    processes: tuple[Process, ...]

    def iteration_s(self, confidence: float = 0.95) -> Interval:
        """Seconds of one iteration over processes."""
        return interval([one.median_s for one in self.processes], confidence)

    def latency_s(self) -> Interval | None:
        """Seconds of one iteration with a fence of its own, over processes; None where a process has none."""
        found = [one.latency_s for one in self.processes]
        known = [value for value in found if value is not None]
        return interval(known) if known and len(known) == len(found) else None

    def times_s(self) -> list[float]:
        """Every burst of every process."""
        return [time for one in self.processes for time in one.times_s]


def gather(records: Iterable[Record]) -> tuple[list[Sampled], list[CellSummary]]:
    """The cells that may show a speed, and the summaries of all cells; both in the order of the cells' words.

    The same rule as in the report: a cell that was wrong in any process has no speed anywhere, and a process whose
    timing cannot be true is in no estimate.

    Raises:
        UsageError: a cell has records of unlike machines, versions or numbers of threads, which these formats would
            pool in silence.
    """
    processes: dict[Cell, list[Process]] = {}
    summaries = summarise(_watched(records, processes))
    sampled = [
        Sampled(one.cell, one, tuple(processes[one.cell]))
        for one in summaries
        if one.outcome == "measured" and one.cell in processes
    ]
    return sampled, summaries


def _watched(records: Iterable[Record], processes: dict[Cell, list[Process]]) -> Iterator[Record]:
    groups = Groups()
    for record in records:
        if groups.place(record):
            first, second = groups.of_cells[record.cell]
            raise UsageError(
                f"{record.cell.label}: run {next(iter(first.runs))} and run {record.run} are unlike, and this format "
                f"would make one figure of them: {'; '.join(differences(first.facts, second.facts))}; export them "
                "apart, or as csv or parquet, which have a row for each"
            )
        process = _process(record)
        if process is not None:
            processes.setdefault(record.cell, []).append(process)
        yield record


def _process(record: Record) -> Process | None:
    measurement = record.measurement
    if not isinstance(record.outcome, Measured) or measurement is None or not plausible(record.labels):
        return None
    bursts = measurement.bursts
    if min(bursts.wall_ns) <= 0:
        return None  # a clock that stood still gives no rate
    places = list(kept(measurement))
    iterations = tuple(bursts.iterations[place] for place in places)
    times = tuple(bursts.wall_ns[place] * 1e-9 / bursts.iterations[place] for place in places)
    return Process(record, measurement, times, iterations)
