"""Records in, one row per cell out: what tables, reports and comparisons read. Pure; raw samples are dropped early."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bench.cell import Cell
from bench.record import Fingerprint, Record


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; low and high are None where one process cannot give any."""

    estimate: float
    low: float | None
    high: float | None
    confidence: float = 0.95


@dataclass(frozen=True)
class ProcessSample:
    """One record reduced to what statistics need; about 0.5 KB, so that 100,000 fit in memory.

    Times in seconds. ``rate`` is items per second: the process median over bursts. ``outcome`` is the tag of the
    record's outcome, ``reason`` its text for people ("" when measured). ``plausible`` is False when a validity check
    (fence, scaling, roofline) says that the timing cannot be true; such samples never enter an estimate.
    """

    cell: Cell
    run: str
    block: str
    process: int
    started_at: str
    outcome: str
    reason: str
    plausible: bool
    rate: float | None
    cpu_rate: float | None
    latency_s: tuple[float, float, float] | None
    error: float | None
    limit: float | None
    producer: str | None
    effective_precision: str | None
    stages_s: Mapping[str, float]
    labels: tuple[str, ...]
    log_tail: str


@dataclass(frozen=True)
class CellSummary:
    """One cell of the grid.

    ``outcome``: ``wrong`` if any process was wrong (then no speed at all), else ``measured`` if any was measured
    plausibly, else ``implausible`` if any was measured, else the commonest failure. ``processes`` counts the samples in
    the estimate, ``attempted`` all records. ``latency_s`` is (p50, p90, p99), each the median over processes.
    ``stages_s`` is the median by stage. ``labels`` counts records by label.
    """

    cell: Cell
    outcome: str
    reason: str
    item: str
    processes: int
    attempted: int
    throughput: Interval | None
    latency_s: tuple[float, float, float] | None
    error: float | None
    limit: float | None
    producer: str | None
    tolerance_reason: str
    effective_precision: str | None
    stages_s: Mapping[str, float]
    labels: Mapping[str, int]
    rates: tuple[float, ...] = ()
    log_tail: str = ""
    fingerprint: Fingerprint | None = field(default=None, compare=False)


def summarise(records: Iterable[Record]) -> list[CellSummary]:
    """One summary per cell, in the order of the cells' words. Streams: holds no raw samples."""
    raise NotImplementedError
